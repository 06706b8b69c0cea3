"""Results keep every rank, refuse to mix facts, and come back from JSON as they went."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data.errors import DataError
from training.data.triples import Triple
from training.evaluation.provenance import Provenance, collect_provenance
from training.evaluation.ranks import Ranks
from training.evaluation.reliability import Bin, Reliability
from training.evaluation.report import markdown, markdown_table
from training.evaluation.results import Evaluation, RelationResult
from training.evaluation.summary import by_relation, compare, summarise

PROVENANCE = Provenance(
    date="2026-01-02T03:04:05+00:00",
    seed=1,
    data_digest="sha256:aa",
    split_digest="sha256:bb",
    base_digest="sha256:cc",
    versions=(("python", "3.11"), ("torch", "2.11")),
    commit=None,
)


def result(system: str, relation: str, ranks: list[int]) -> RelationResult:
    facts = tuple(Triple(f"subject {i}", relation, "é|object") for i in range(len(ranks)))
    array = np.array(ranks)
    return RelationResult(relation, system, facts, Ranks(array, array))


def evaluation() -> Evaluation:
    return Evaluation(
        (
            result("unmasked", "MadeOf", [2, 4]),
            result("masked", "MadeOf", [1, 2]),
            result("masked", "IsA", [1, 1, 1, 10]),
            result("unmasked", "IsA", [2, 2, 2, 20]),
        ),
        PROVENANCE,
    )


def reliability(relation: str, accepted: int = 3, found: int = 2) -> Reliability:
    bins = (Bin(10, 0.1, 0.0), Bin(10, 0.3, 0.4))
    return Reliability(relation, 0.25, 2, 8, accepted, found, 0.125, bins)


def calibrated() -> Evaluation:
    parts = (reliability("IsA"), reliability("MadeOf", accepted=0, found=0))
    return replace(evaluation(), calibration=parts)


def test_means_over_relations_and_over_facts() -> None:
    unmasked, masked = summarise(evaluation())
    assert (unmasked.system, masked.system) == ("unmasked", "masked")
    assert masked.relations == ("IsA", "MadeOf")
    assert masked.facts == 6
    assert masked.intervals["hits@1"].estimate == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert masked.intervals["mrr"].estimate == pytest.approx((3.1 / 4 + 1.5 / 2) / 2)
    _, masked = summarise(evaluation(), "per_fact")
    assert masked.intervals["hits@1"].estimate == pytest.approx(4 / 6)
    rows = by_relation(evaluation(), ks=(2,))
    assert [(row.relations[0], row.system) for row in rows] == [
        ("IsA", "masked"),
        ("IsA", "unmasked"),
        ("MadeOf", "unmasked"),
        ("MadeOf", "masked"),
    ]
    assert list(rows[0].intervals) == ["hits@2", "mrr"]


def test_comparisons_are_paired() -> None:
    ratio = compare(evaluation(), "masked", "unmasked", statistic="ratio")
    assert (ratio.low, ratio.estimate, ratio.high) == pytest.approx((2, 2, 2))
    difference = compare(evaluation(), "masked", "unmasked", metric="hits@1", relation="IsA")
    assert difference.estimate == pytest.approx(0.75)
    assert difference.low < 0.75


def test_comparisons_refuse() -> None:
    with pytest.raises(ValueError, match="no system 'other'; there are: unmasked, masked"):
        compare(evaluation(), "masked", "other")
    for metric in ("p@1", "hits@", "hits", "hits@-1"):
        with pytest.raises(ValueError, match="unknown metric"):
            compare(evaluation(), "masked", "unmasked", metric=metric)
    with pytest.raises(ValueError, match="not both evaluated on 'HasA'"):
        compare(evaluation(), "masked", "unmasked", relation="HasA")
    partial = Evaluation(evaluation().results[:3], PROVENANCE)
    with pytest.raises(ValueError, match="only one of masked and unmasked was evaluated on IsA"):
        compare(partial, "masked", "unmasked")


def test_unlike_results_are_not_set_side_by_side() -> None:
    with pytest.raises(ValueError, match="saw different facts of IsA"):
        Evaluation((result("a", "IsA", [1]), result("b", "IsA", [1, 2])), PROVENANCE)
    with pytest.raises(ValueError, match="a on IsA is there twice"):
        Evaluation((result("a", "IsA", [1]), result("a", "IsA", [2])), PROVENANCE)
    with pytest.raises(ValueError, match="at least one result"):
        Evaluation((), PROVENANCE)
    with pytest.raises(ValueError, match="0 facts and 0 ranks"):
        result("a", "IsA", [])
    ranks = Ranks(np.array([1]), np.array([1]))
    with pytest.raises(ValueError, match="another relation"):
        RelationResult("IsA", "a", (Triple("x", "HasA", "y"),), ranks)


def test_json_round_trip() -> None:
    text = evaluation().to_json()
    assert Evaluation.from_json(text) == evaluation()
    record = json.loads(text)["results"][1]
    assert record["metrics"]["hits@1"] == 0.5


def test_calibrations_travel_too_and_older_reports_have_none() -> None:
    assert Evaluation.from_json(calibrated().to_json()) == calibrated()
    older = edit(lambda content: content.pop("calibration"))
    assert Evaluation.from_json(older) == evaluation()


def test_the_shipped_report_is_readable() -> None:
    folder = Path(__file__).parents[2] / "masks" / "packs" / "conceptnet"
    shipped = Evaluation.from_json((folder / "report.json").read_text(encoding="utf-8"))
    assert len(shipped.relations) == 16
    assert {part.relation for part in shipped.calibration} == {*shipped.relations} - {"NotDesires"}


def test_a_calibration_is_of_one_relation_with_results() -> None:
    for parts in ([reliability("HasA")], [reliability("IsA"), reliability("IsA")]):
        with pytest.raises(ValueError, match=r"calibration of \w+ is there twice, or it has"):
            replace(evaluation(), calibration=tuple(parts))


def edit(change: Callable[[Any], object]) -> str:
    content = json.loads(evaluation().to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "must be JSON"),
        ("[]", "not an evaluation"),
        (edit(lambda c: c.update(format="relata-evaluation/9")), "not an evaluation"),
        (edit(lambda c: c.pop("facts")), "'facts' is missing"),
        (edit(lambda c: c.pop("results")), "'results' must be a list"),
        (edit(lambda c: c["results"].append(c["results"][0])), "is there twice"),
        (edit(lambda c: c["results"][0].update(relation="HasA")), "no facts of HasA"),
        (edit(lambda c: c["results"][0].update(optimistic_ranks=[1])), "of one shape"),
        (edit(lambda c: c["results"][0].update(optimistic_ranks=[1.5, 1])), "hold only int"),
        (edit(lambda c: c["results"][0].update(optimistic_ranks=[True, 1])), "hold only int"),
        (edit(lambda c: c["results"][0].update(system=3)), "'system' must be of type str"),
        (edit(lambda c: c["facts"]["IsA"].pop()), "3 facts and 4 ranks"),
        (edit(lambda c: c["facts"]["IsA"][0].append("x")), "a subject and an object"),
        (edit(lambda c: c.update(calibration={})), "'calibration' must be a list"),
        (edit(lambda c: c.update(calibration=[{}])), "'relation' is missing"),
        (edit(lambda c: c.update(calibration=[reliability("HasA").to_record()])), "no results"),
        (
            edit(lambda c: c.update(calibration=[reliability("IsA").to_record() | {"bins": []}])),
            "needs bins",
        ),
        (edit(lambda c: c["provenance"].update(seed="1")), "'seed' must be of type int"),
        (edit(lambda c: c["provenance"].update(versions={"torch": 2})), "'versions'"),
    ],
)
def test_bad_json_is_refused(text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        Evaluation.from_json(text)


def test_markdown_has_every_row_with_its_interval() -> None:
    text = markdown(evaluation(), resamples=200)
    assert re.search(r"\| masked \| 2 \| 6 \| 62\.5 \[\d+\.\d, \d+\.\d\]", text)
    assert re.search(r"\| IsA \| masked \| 4 \| 75\.0 \[", text)
    assert "0.762 [" in text or "0.763 [" in text
    assert "- base model: sha256:cc" in text
    assert "- commit: not a checkout" in text
    assert "200 resamples" in text


def test_markdown_has_the_calibrations_if_there_are_any() -> None:
    assert "## Calibration" not in markdown(evaluation(), resamples=50)
    text = markdown(calibrated(), resamples=50)
    table = text[text.index("## Calibration") : text.index("In brackets")]
    one = "| IsA | 2 | 8 | 20 | 20.0 | 25.0 | 3 | 66.7 | 25.0 | 0.364 | 10.0 | 0.1250 |"
    none = "| MadeOf | 2 | 8 | 20 | 20.0 | 25.0 | 0 |  | 0.0 | 0.000 | 10.0 | 0.1250 |"
    both = "| all | 4 | 16 | 40 | 20.0 |  | 3 | 66.7 | 12.5 | 0.211 | 10.0 | 0.1250 |"
    assert [line for line in table.splitlines() if line.startswith("| ")][2:] == [one, none, both]


def test_a_bar_in_a_cell_does_not_open_a_column() -> None:
    assert markdown_table(["a|b"], [["c"]]).splitlines()[0] == r"| a\|b |"


def test_provenance_of_this_run() -> None:
    made = collect_provenance(seed=1, data_digest="d", split_digest="s", base_digest="b")
    versions = dict(made.versions)
    assert versions.keys() == {"python", "relata", "torch", "transformers", "numpy"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)
    assert made.commit is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", made.commit)
    assert Provenance.from_record(json.loads(json.dumps(made.to_record()))) == made
