"""Stochastic masks exported as their expectation: learned, written, assessed and calibrated."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import plm
import relata
from masks import MaskPack, RelationMask
from training.assessment import MASKED
from training.calibration import calibrate
from training.data import RelationTemplates, Triple, load_split, split_by_fact
from training.evaluation import mean_reciprocal_rank, rank_targets
from training.facts import read_facts
from training.learning import LearnConfig, learn_mask
from training.learning_curve import CurveSetting, learning_curves
from training.methods import METHODS, StochasticGenerator
from training.plan import Plan, RunError
from training.run import evaluate_run, train

SHAPES = {"a": (4, 6), "b": (3, 5)}
# Scores that are neither sure nor even, so that the expectation is far from the thresholded mask.
CONFIG = LearnConfig(
    method="stochastic",
    export="expectation",
    score_mean=1.0,
    score_deviation=1.0,
    learning_rate=3e-2,
    epochs=3,
    batch_size=4,
)


def generator(**changes: Any) -> StochasticGenerator:
    settings = {"mean": 0.5, "deviation": 2.0, "seed": 3, "export": "expectation"}
    return StochasticGenerator(SHAPES, device=torch.device("cpu"), **(settings | changes))


def mask_under(base: plm.BaseModel, values: dict[str, np.ndarray], config: LearnConfig) -> Any:
    """A mask of these values, for the engine."""
    return RelationMask.from_values(
        values,
        relation="IsA",
        base_model=base.name,
        base_digest=base.digest,
        architecture="bert",
        layers=(3, 4),
        method=config.method,
        threshold=None,
        templates=("a [X] is a [Y] .",),
        data_name="facts",
        data_digest="sha256:" + "0" * 64,
        seed=0,
        validation={},
        tool_version="0",
    )


def served_mrr(base: plm.BaseModel, mask: RelationMask, facts: Sequence[Triple]) -> float:
    """MRR as the serving engine gives it, without anything of training in it."""
    template = plm.Template.parse(mask.metadata.templates[0])
    rows = [plm.encode_prompt(base, template, fact.subject).row for fact in facts]
    logits = plm.Engine(base).logits(rows, [mask] * len(rows))
    targets = torch.tensor([plm.object_token_id(base, fact.object) for fact in facts])
    return mean_reciprocal_rank(rank_targets(logits, targets))


# --- the method ------------------------------------------------------------------------------


def test_answers_are_given_under_the_values_that_are_exported() -> None:
    mine = generator()
    weights = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    settled, values = mine.settled(weights), mine.values()
    assert values is not None
    assert mine.threshold is None
    for name, scores in zip(mine.names, mine.scores, strict=True):
        expectation = scores.detach().double().sigmoid()
        assert values[name].dtype == np.uint8
        off = torch.from_numpy(values[name]).double() / 255 - expectation
        assert off.abs().max() <= 0.5 / 255 + 1e-6
        exactly = weights[name] * (torch.from_numpy(values[name]).float() / 255)
        assert torch.equal(settled[name], exactly)


def test_a_copy_exports_the_same() -> None:
    mine = generator()
    twin = copy.deepcopy(mine)
    assert (twin.export, twin.threshold) == ("expectation", None)
    values, others = mine.values(), twin.values()
    assert values is not None
    assert others is not None
    assert all(np.array_equal(values[name], others[name]) for name in SHAPES)


def test_a_training_step_is_the_same_whatever_is_exported() -> None:
    weights = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    soft, hard = generator().masked(weights), generator(export="binary").masked(weights)
    assert all(torch.equal(soft[name], hard[name]) for name in SHAPES)
    assert generator(export="binary").values() is None


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"stochastic"}))
def test_other_methods_export_bits_alone(method: str) -> None:
    with pytest.raises(ValueError, match=f"method {method} are exported as binary, not"):
        LearnConfig(method=method, export="expectation")


def test_an_unknown_export_is_refused() -> None:
    with pytest.raises(ValueError, match="as binary or expectation, not as 'both'"):
        LearnConfig(method="stochastic", export="both")  # type: ignore[arg-type]


# --- learning --------------------------------------------------------------------------------


def test_validation_measures_what_is_served(
    base: plm.BaseModel, many_triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    split = split_by_fact(many_triples, seed=0)
    learned = learn_mask(base, split, templates["IsA"], CONFIG, seed=0)
    assert learned.keep is None
    assert learned.values is not None
    assert learned.threshold is None
    mask = mask_under(base, learned.values, CONFIG)
    served = served_mrr(base, mask, split.validation)
    assert served == pytest.approx(learned.validation["mrr"], abs=1e-4)
    # It is the expectation that was measured, which the thresholded mask is far from.
    cut = served_mrr(base, mask.at_threshold(0.5), split.validation)
    assert abs(cut - served) > 1e-3
    every = np.concatenate([part.ravel() for part in learned.values.values()])
    assert len(np.unique(every)) > 200


# --- a run -----------------------------------------------------------------------------------


@pytest.fixture
def plan(
    base: plm.BaseModel,
    many_triples: tuple[Triple, ...],
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
) -> Plan:
    path = tmp_path / "facts.tsv"
    few = [fact for fact in triples if fact.relation == "AtLocation"]
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}\n" for fact in (*many_triples, *few)]
    path.write_text("subject\trelation\tobject\n" + "".join(rows))
    return Plan(read_facts(base, [path], templates), None, templates, CONFIG, 0, "soft")


def test_a_run_writes_assesses_and_calibrates_expectations(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    pack = train(base, plan, out)
    assert pack.verify() == []
    mask = pack.load("IsA")
    assert (mask.bits_per_weight, mask.metadata.threshold) == (8, None)
    assert mask.metadata.method == "stochastic"
    split = load_split(out / "split.jsonl").of_relation("IsA")
    validation = mask.metadata.validation["mrr"]
    assert served_mrr(base, mask, split.validation) == pytest.approx(validation, abs=1e-4)

    assert mask.metadata.calibration is not None
    assert calibrate(base, mask, split).calibration == mask.metadata.calibration

    evaluation = evaluate_run(base, plan, out)
    (result,) = [r for r in evaluation.results if (r.relation, r.system) == ("IsA", MASKED)]
    reported = mean_reciprocal_rank(result.ranks)
    assert served_mrr(base, mask, result.facts) == pytest.approx(reported, abs=1e-4)
    assert evaluation.calibration
    assert "each eight bits for each weight" in (pack.folder / "README.md").read_text()


def test_a_curve_is_of_expectations_too(base: plm.BaseModel, plan: Plan, tmp_path: Path) -> None:
    pack = train(base, plan, tmp_path / "run")
    split = load_split(tmp_path / "run" / "split.jsonl")
    mask = pack.load("IsA")
    setting = CurveSetting(split, {"IsA": mask}, plan.templates, CONFIG, seed=0)
    (curve,) = learning_curves(base, setting, tmp_path / "curves.json")
    all_facts = curve.points[-1]
    assert all_facts.facts == len(split.of_relation("IsA").train)
    assert all_facts.mrr.estimate == pytest.approx(mask.metadata.validation["mrr"], abs=1e-4)


def test_a_folder_belongs_to_one_export(base: plm.BaseModel, plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "run"
    binary = replace(plan, config=replace(CONFIG, export="binary"))
    pack = train(base, binary, out)
    assert pack.load("IsA").bits_per_weight == 1
    train(base, binary, out)
    with pytest.raises(RunError, match=r"other settings \(config\)"):
        train(base, plan, out)


# --- the command line ------------------------------------------------------------------------


def test_export_on_the_command_line(
    base_folder: Path, many_triples: tuple[Triple, ...], tmp_path: Path
) -> None:
    rows = [f"{fact.subject},{fact.relation},{fact.object}" for fact in many_triples]
    (tmp_path / "facts.csv").write_text("\n".join(["subject,relation,object", *rows]) + "\n")
    given = ["train", "--data", tmp_path / "facts.csv", "--base", base_folder, "--epochs", "1"]

    def run(*arguments: str | Path) -> Any:
        return CliRunner().invoke(relata.app, [str(part) for part in (*given, *arguments)])

    soft = run("--preset", "stochastic", "--export", "expectation", "--out", tmp_path / "soft")
    assert soft.exit_code == 0, soft.output
    assert MaskPack.open(tmp_path / "soft" / "pack").load("IsA").bits_per_weight == 8
    hard = run("--preset", "paper-stochastic", "--export", "binary", "--out", tmp_path / "hard")
    assert hard.exit_code == 0, hard.output
    assert MaskPack.open(tmp_path / "hard" / "pack").load("IsA").bits_per_weight == 1
    wrong = run("--export", "expectation", "--out", tmp_path / "wrong")
    assert isinstance(wrong.exception, RunError)
    assert "method deterministic are exported as binary" in str(wrong.exception)
    assert not (tmp_path / "wrong").exists()
