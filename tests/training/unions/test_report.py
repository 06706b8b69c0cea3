"""What the report says of gains, and what it says to ask for."""

from pathlib import Path

import numpy as np
import pytest

from training.evaluation import Interval, collect_provenance
from training.unions import Selection, Settings, Table
from training.unions.report import Report, page_of, request_of, summary_of
from training.unions.run import Findings, Found

UNION = ("A", "B")


def report(
    gain: tuple[float, float, float],
    scorings: tuple[str, ...] = ("context",),
    normalizations: tuple[str, ...] = ("none",),
) -> Report:
    found = Found(UNION, 0.75, Selection(Interval(0.7, 0.6, 0.8), Interval(*gain), (UNION, ("A",))))
    right = np.array([[True, False, False, True], [True, True, True, False]])
    findings = Findings(
        relations=UNION,
        sizes=(2,),
        unmasked=Interval(0.5, 0.4, 0.6),
        table=Table((("A",), UNION), right),
        exhaustive=found,
        greedy=found,
        path=(("A",), UNION),
    )
    return Report(
        findings=findings,
        settings=Settings("sha256:q", "sha256:b", "default", "default", {}),
        provenance=collect_provenance(seed=0, data_digest="", split_digest="", base_digest=""),
        pack=Path("pack"),
        questions=4,
        chance=0.5,
        folds=2,
        scorings=scorings,
        normalizations=normalizations,
    )


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        ((0.2, 0.1, 0.3), "masks help"),
        ((0.2, -0.1, 0.3), "do not show that masks help"),
        ((-0.2, -0.3, -0.1), "masks harm on questions like these; leave `relations` out"),
    ],
)
def test_what_a_gain_is_said_to_mean(gain: tuple[float, float, float], verdict: str) -> None:
    assert verdict in " ".join(summary_of(report(gain)))


def test_the_most_accurate_comes_first() -> None:
    page = page_of(report((0.2, 0.1, 0.3)))
    assert "| 1 | A, B | 75.0 % | +25.0 |\n| 2 | A | 50.0 % | +0.0 |" in page
    assert "right on 70.0 % [60.0, 80.0]" in page
    assert "in points, is +20.0 [+10.0, +30.0]" in page


@pytest.mark.parametrize(
    ("scorings", "normalizations", "further"),
    [
        (("context",), ("none",), {"scoring": "context"}),
        (("answer",), ("pmi",), {"scoring": "answer", "normalize": "pmi"}),
        (("answer", "pll"), ("char", "none"), {}),
    ],
)
def test_what_belongs_into_a_request(
    scorings: tuple[str, ...], normalizations: tuple[str, ...], further: dict[str, str]
) -> None:
    asked = request_of(report((0.2, 0.1, 0.3), scorings, normalizations))
    assert asked == {"relations": ["A", "B"]} | further
