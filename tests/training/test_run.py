import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import plm
from masks import MaskPack, RelationMask
from training.assessment import (
    MASKED,
    MISMATCHED,
    PRIOR,
    RANDOM_HALF,
    RANDOM_SAME,
    UNMASKED,
    Assessed,
    assess,
)
from training.calibration import calibrate, measure
from training.data import DataError, RelationTemplates, Triple, load_split, split_by_fact
from training.evaluation import Evaluation, collect_provenance, reciprocal_rank
from training.facts import add_to_train, askable, read_facts
from training.learning import LearnConfig
from training.plan import Plan, RunError
from training.run import PACK, REPORT, SPLIT, Event, evaluate_run, train

DIGEST = "sha256:" + "0" * 64
CONFIG = LearnConfig(learning_rate=3e-3, epochs=2, batch_size=4)


def tiny_mask(
    base: plm.BaseModel, relation: str, layers: tuple[int, int], keep: dict[str, NDArray[np.bool_]]
) -> RelationMask:
    return RelationMask.from_keep(
        keep,
        relation=relation,
        base_model=base.name,
        base_digest=base.digest,
        architecture=base.architecture.model_type,
        layers=layers,
        method="deterministic",
        threshold=0.5,
        templates=("a [X] is a [Y] .",),
        data_name="none",
        data_digest=DIGEST,
        seed=0,
        validation={},
        tool_version="0",
    )


@pytest.fixture
def data(tmp_path: Path, triples: tuple[Triple, ...]) -> Path:
    path = tmp_path / "facts.tsv"
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}" for fact in triples]
    path.write_text("subject\trelation\tobject\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def plan(base: plm.BaseModel, data: Path, templates: dict[str, RelationTemplates]) -> Plan:
    facts = read_facts(base, [data], templates)
    return Plan(facts, None, templates, CONFIG, seed=0, pack_name="tiny")


def test_facts_become_a_pack_of_masks_and_a_report(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    pack = train(base, plan, tmp_path / "run")
    assert pack.relations == ("AtLocation", "IsA")
    assert pack.verify() == []
    mask = pack.load("IsA")
    assert mask.base_digest == base.digest
    assert mask.metadata.templates[0] == "a [X] is a [Y] ."
    assert mask.metadata.facts == {"test": 2, "train": 11, "validation": 3}
    assert mask.metadata.data_name == "facts.tsv"
    evaluation = evaluate_run(base, plan, tmp_path / "run")
    assert set(evaluation.systems) == {
        UNMASKED,
        MASKED,
        MISMATCHED,
        RANDOM_SAME,
        RANDOM_HALF,
        PRIOR,
    }
    stored = (tmp_path / "run" / PACK / f"{REPORT}.json").read_text()
    assert Evaluation.from_json(stored) == evaluation
    assert "masked" in (tmp_path / "run" / f"{REPORT}.md").read_text()


def test_masks_are_calibrated_as_they_are_made(
    base: plm.BaseModel,
    many_triples: tuple[Triple, ...],
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
) -> None:
    path = tmp_path / "facts.tsv"
    few = [fact for fact in triples if fact.relation == "AtLocation"]
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}\n" for fact in (*many_triples, *few)]
    path.write_text("subject\trelation\tobject\n" + "".join(rows))
    plan = Plan(read_facts(base, [path], templates), None, templates, CONFIG, 0, "tiny")
    events: list[Event] = []
    pack = train(base, plan, tmp_path / "run", tell=events.append)
    fits = {event.relation: event.fit for event in events if event.fit is not None}
    split = load_split(tmp_path / "run" / SPLIT)
    mask = pack.load("IsA")
    assert fits["IsA"] == calibrate(base, mask, split.of_relation("IsA"))
    assert mask.metadata.calibration == fits["IsA"].calibration is not None
    # Three validation facts are no ground to stand on, and the run says so.
    assert pack.load("AtLocation").metadata.calibration is None
    assert "candidates are known to be true" in (fits["AtLocation"].reason or "")
    evaluation = evaluate_run(base, plan, tmp_path / "run")
    assert evaluation.calibration == (measure(base, mask, split.of_relation("IsA")),)
    stored = (tmp_path / "run" / PACK / f"{REPORT}.json").read_text()
    assert Evaluation.from_json(stored) == evaluation
    assert "## Calibration" in (tmp_path / "run" / f"{REPORT}.md").read_text()


def test_of_several_rates_validation_chooses(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    shares: list[float] = []
    several = replace(plan, further_rates=(1e-6, 1e-2))
    pack = train(base, several, tmp_path / "several", tell=lambda event: shares.append(event.share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    alone = {}
    for rate in (CONFIG.learning_rate, 1e-6, 1e-2):
        config = replace(CONFIG, learning_rate=rate)
        alone[rate] = train(base, replace(plan, config=config), tmp_path / str(rate))
    for relation in pack.relations:
        mask = pack.load(relation)
        chosen = alone[mask.metadata.settings["learning_rate"]].load(relation)
        assert mask.digest == chosen.digest
        assert mask.metadata.validation["mrr"] == max(
            one.load(relation).metadata.validation["mrr"] for one in alone.values()
        )


def test_mismatched_masks_are_those_of_all_other_relations(
    base: plm.BaseModel, many_triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    # Three relations under masks that remove everything of one matrix each.
    names = ("A", "B", "C")
    layers = (3, 4)
    wordings = {name: replace(templates["IsA"], relation=name) for name in names}
    facts = [replace(fact, relation=name) for name in names for fact in many_triples[:8]]
    masks = {}
    for number, name in enumerate(names):
        keep = {part: np.ones(shape, dtype=bool) for part, shape in base.shapes(*layers).items()}
        keep[list(keep)[number]][:] = False
        masks[name] = tiny_mask(base, name, layers, keep)
    provenance = collect_provenance(
        seed=0, data_digest=DIGEST, split_digest=DIGEST, base_digest=base.digest
    )
    evaluation = assess(base, Assessed(facts, (), wordings, masks), provenance)
    own = evaluation.of_system(MASKED)
    for name, result in evaluation.of_system(MISMATCHED).items():
        # The facts are the same for all three: under B's mask A's facts rank as B's own do.
        others = [own[other].ranks for other in names if other != name]
        assert {tuple(trial) for trial in result.ranks.optimistic} == {
            tuple(ranks.optimistic) for ranks in others
        }
        expected = np.mean([reciprocal_rank(ranks) for ranks in others], axis=0)
        np.testing.assert_allclose(result.values()["mrr"], expected)
    assert Evaluation.from_json(evaluation.to_json()) == evaluation


def test_masked_ranks_are_those_of_the_served_model(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    pack = train(base, plan, tmp_path / "run")
    evaluation = evaluate_run(base, plan, tmp_path / "run")
    result = evaluation.of_system(MASKED)["IsA"]
    engine = plm.Engine(base)
    for fact, rank in zip(result.facts, result.ranks.realistic, strict=True):
        template = plm.Template.parse("a [X] is a [Y] .")
        prompt = plm.encode_prompt(base, template, fact.subject)
        query = plm.Query(prompt, pack.load("IsA"), plm.TopTokens(base.vocab_size))
        (ranking,) = plm.complete(engine, [query])
        served = [completion.object for completion in ranking].index(fact.object) + 1
        assert served == rank


def test_a_killed_run_loses_only_the_relation_at_work(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    def kill(event: Event) -> None:
        if event.relation == "IsA":
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(base, plan, out, tell=kill)
    assert MaskPack.open(out / PACK).relations == ("AtLocation",)
    events: list[Event] = []
    resumed = train(base, plan, out, tell=events.append)
    assert [event.relation for event in events if event.resumed] == ["AtLocation"]
    whole = train(base, plan, tmp_path / "other")
    for relation in whole.relations:
        assert resumed.load(relation).digest == whole.load(relation).digest


def test_a_folder_of_other_settings_is_refused(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    train(base, plan, tmp_path / "run")
    other = replace(plan, config=replace(CONFIG, epochs=3), seed=1)
    with pytest.raises(RunError, match=r"other settings \(config, seed\)"):
        train(base, other, tmp_path / "run")
    (tmp_path / "run" / "settings.json").write_text("{")
    with pytest.raises(RunError, match="not readable"):
        train(base, plan, tmp_path / "run")


def test_facts_that_cannot_be_asked_are_passed_over_with_a_reason(
    base: plm.BaseModel, templates: dict[str, RelationTemplates], tmp_path: Path
) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(
        "subject,relation,object\n"
        "dog,IsA,animal\n"
        "dog,IsA\n"
        "dog,IsA,unheard\n"
        "[MASK],IsA,animal\n" + "dog " * 50 + ",IsA,tool\n"
    )
    facts = read_facts(base, [path], templates)
    assert facts.triples == (Triple("dog", "IsA", "animal"),)
    assert [line.number for line in facts.bad_lines] == [3]
    reasons = {item.triple.object: item.reason for item in facts.rejected}
    assert "unheard" in reasons["unheard"]
    assert any("[MASK]" in item.reason for item in facts.rejected)
    assert any("tokens long" in item.reason for item in facts.rejected)


def test_relations_without_templates_or_facts_are_named(
    base: plm.BaseModel, data: Path, templates: dict[str, RelationTemplates]
) -> None:
    with pytest.raises(DataError, match=r"no templates for IsA"):
        read_facts(base, [data], {"AtLocation": templates["AtLocation"]})
    with pytest.raises(DataError, match=r"no fact of Eats.*AtLocation, IsA"):
        read_facts(base, [data], templates, relations=["Eats"])


def test_nothing_usable_is_an_error(
    base: plm.BaseModel, templates: dict[str, RelationTemplates]
) -> None:
    with pytest.raises(DataError, match="no fact can be asked"):
        askable(base, [Triple("[MASK]", "IsA", "animal")], templates)


def test_further_facts_reach_training_only_and_never_a_held_out_one(
    triples: tuple[Triple, ...],
) -> None:
    split = split_by_fact(triples, seed=0)
    held = split.test[0]
    further = [
        replace(held, subject=f"a {held.subject}"),
        replace(held, subject=f"{held.subject}s"),
        split.train[0],
        Triple("bee", held.relation, "thing"),
    ]
    grown = add_to_train(split, further)
    assert set(grown.train) - set(split.train) == {Triple("bee", held.relation, "thing")}
    assert (grown.validation, grown.test) == (split.validation, split.test)


def test_phrases_lose_their_leading_function_word(
    base: plm.BaseModel, templates: dict[str, RelationTemplates], tmp_path: Path
) -> None:
    path = tmp_path / "phrases.txt"
    path.write_text("IsA\ta big dog\tan animal\nIsA\tthe\tto\nIsA\ta dog\ta big animal\n")
    facts = read_facts(base, [path], templates, format="conceptnet-100k", phrases=True)
    assert facts.triples == (Triple("big dog", "IsA", "animal"),)
    assert len(facts.rejected) == 2


def test_validation_chooses_whether_further_facts_are_learned_from(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    path = tmp_path / "more.tsv"
    path.write_text("IsA\tbig dog\tanimal\nIsA\tred saw\ttool\n")
    further = read_facts(base, [path], plan.templates, format="conceptnet-100k")
    with_further = replace(plan, further=further)
    pack = train(base, with_further, tmp_path / "both")
    alone = train(base, plan, tmp_path / "alone")
    assert pack.load("AtLocation").digest == alone.load("AtLocation").digest
    chosen, without = pack.load("IsA").metadata, alone.load("IsA").metadata
    assert chosen.validation["mrr"] >= without.validation["mrr"]
    assert (chosen.data_name == "facts.tsv + more.tsv") == (chosen.facts["train"] == 13)
    assert chosen.facts["train"] in (11, 13)


def test_the_split_on_disk_is_the_one_learned_from(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    train(base, plan, tmp_path / "run")
    split = load_split(tmp_path / "run" / SPLIT)
    assert split == split_by_fact(plan.facts.triples, seed=0)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["seed"] == 0


def test_a_relation_that_names_no_mask_is_refused_before_learning(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    spaced = tuple(replace(fact, relation="is a") for fact in plan.facts.triples)
    with pytest.raises(RunError, match="'is_a'"):
        train(base, replace(plan, facts=replace(plan.facts, triples=spaced)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
