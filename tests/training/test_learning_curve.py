"""Learning curves: what is learned from how much, kept as it comes, and what it is called."""

from dataclasses import replace
from pathlib import Path

import pytest

import plm
from training.data import DataError, RelationTemplates, Triple, split_by_fact
from training.evaluation import Interval
from training.facts import read_facts
from training.learning import LearnConfig
from training.learning_curve import (
    CurvePoint,
    CurveSetting,
    LearningCurve,
    curves_markdown,
    learning_curves,
    load_curves,
)
from training.plan import Plan
from training.run import CURVES, PACK, curves_of_run, evaluate_run, train

CONFIG = LearnConfig(learning_rate=3e-3, epochs=2, batch_size=4)


@pytest.fixture
def plan(
    base: plm.BaseModel,
    many_triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
) -> Plan:
    path = tmp_path / "facts.tsv"
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}\n" for fact in many_triples]
    path.write_text("subject\trelation\tobject\n" + "".join(rows))
    return Plan(read_facts(base, [path], templates), None, templates, CONFIG, 0, "tiny")


def test_a_curve_ends_at_the_mask_of_the_run_and_is_kept(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    pack = train(base, plan, tmp_path / "run")
    shares: list[float] = []
    (curve,) = curves_of_run(
        base, plan, tmp_path / "run", tell=lambda _, share: shares.append(share)
    )
    split = split_by_fact(plan.facts.triples, seed=0)
    facts = len(split.train)
    assert [point.facts for point in curve.points] == [round(facts / 4), round(facts / 2), facts]
    # No mask was learned anew for the last point: it is the one of the pack.
    chosen = pack.load("IsA").metadata.validation["mrr"]
    assert curve.points[-1].mrr.estimate == pytest.approx(chosen, abs=1e-6)
    assert curve.validation == len(split.validation)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert load_curves(tmp_path / "run" / CURVES) == (curve,)

    # What is in the file is not learned again.
    again = curves_of_run(base, plan, tmp_path / "run", tell=lambda *_: pytest.fail("learned"))
    assert again == (curve,)

    evaluate_run(base, plan, tmp_path / "run", curves=again)
    report = (tmp_path / "run" / "report.md").read_text()
    assert "## Learning curve" in report
    assert f"| IsA | {curve.validation} |" in report
    card = (tmp_path / "run" / PACK / "README.md").read_text()
    assert f"- IsA: the curve is {curve.word}" in card


def test_with_further_facts_the_last_point_is_learned_without_them(
    base: plm.BaseModel, plan: Plan, tmp_path: Path
) -> None:
    pack = train(base, plan, tmp_path / "run")
    split = split_by_fact(plan.facts.triples, seed=0)
    others = replace(split, train=split.train[:-1])
    setting = CurveSetting(others, pack.load_all(), plan.templates, CONFIG, 0)
    (curve,) = learning_curves(base, setting, tmp_path / "curves.json")
    assert curve.points[-1].facts == len(others.train)


def test_too_few_facts_give_no_curve(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    plan: Plan,
    tmp_path: Path,
) -> None:
    pack = train(base, plan, tmp_path / "run")
    few = split_by_fact([fact for fact in triples if fact.relation == "IsA"], seed=0)
    setting = CurveSetting(few, pack.load_all(), templates, CONFIG, 0)
    assert learning_curves(base, setting, tmp_path / "curves.json") == ()
    assert curves_markdown(()) == ""


@pytest.mark.parametrize("content", ["[{}]", "{", '{"a": 1}'])
def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "curves.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"curves\.json holds no learning curves"):
        load_curves(path)


@pytest.mark.parametrize(
    ("low", "high", "validation", "word"),
    [
        (0.01, 0.05, 40, "rising"),
        (-0.05, -0.01, 40, "falling"),
        (-0.01, 0.05, 40, "not shown to rise"),
        (0.01, 0.05, 19, "too few facts to tell"),
    ],
)
def test_a_curve_gets_its_word(low: float, high: float, validation: int, word: str) -> None:
    gain = Interval((low + high) / 2, low, high, 0.95)
    curve = LearningCurve("IsA", (CurvePoint(9, gain),), gain, validation)
    assert curve.word == word
