"""The same rows under one mask set after another, beside the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import plm
import plm.repeated
from masks import MaskMismatchError

if TYPE_CHECKING:
    from masks import PackedMask
    from tests.plm.conftest import Tiny

CONTEXT = "the wooden dogs were sleeping in the house"
CHOICES = ("it runs", "a bed of papers!", "made from woodens and linens for the bed, unseen")


def asked_of(base: plm.BaseModel, scoring: plm.choices.Scoring = "pll") -> plm.ChoicePlan:
    return plm.plan_choices(base, CONTEXT, CHOICES, scoring=scoring)


def rows_and_pairs(plan: plm.ChoicePlan) -> tuple[list[plm.EncodedRow], np.ndarray]:
    pairs = [
        (number, token)
        for number, probe in enumerate(plan.probes)
        if isinstance(probe.wanted, plm.TokenScores)
        for token in probe.wanted.tokens[0].tolist()
    ]
    # In no order that a pass would have them in.
    shuffled = np.random.default_rng(0).permutation(np.array(pairs, np.int64))
    return [probe.row for probe in plan.probes], shuffled


def by_engine(
    base: plm.BaseModel, rows: list[plm.EncodedRow], pairs: np.ndarray, mask: PackedMask | None
) -> list[float]:
    wanted = [plm.TokenScores(np.array([[token]], np.int32)) for _, token in pairs]
    probes = [plm.Probe(rows[row], mask, one) for (row, _), one in zip(pairs, wanted, strict=True)]
    return [float(reading.log_probs[0, 0]) for reading in plm.Engine(base).read(probes)]


@pytest.mark.parametrize("budget", [1, 64, 4096])
@pytest.mark.parametrize("kept_bytes", [0, 20_000, 2**30])
def test_the_engines_answers_under_every_mask(tiny: Tiny, budget: int, kept_bytes: int) -> None:
    rows, pairs = rows_and_pairs(asked_of(tiny.base))
    repeated = plm.RepeatedRows(
        tiny.base, rows, pairs, 3, token_budget=budget, kept_bytes=kept_bytes
    )
    assert repeated.tokens == sum(len(row.input_ids) for row in rows)
    before = None
    for mask in (tiny.union(1, 2), None, tiny.mask(3, (4, 4)), tiny.expectation(4)):
        found = repeated.log_probs(mask)
        assert found == pytest.approx(by_engine(tiny.base, rows, pairs, mask), abs=1e-4)
        assert before is None or np.abs(before - found).max() > 1e-3
        before = found


def test_lower_layers_run_once(bert: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    original = plm.repeated.run_layers

    def counted(base: plm.BaseModel, hidden: object, layers: list[object], *rest: object) -> object:
        runs.append(len(layers))
        return original(base, hidden, layers, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(plm.repeated, "run_layers", counted)
    rows, pairs = rows_and_pairs(asked_of(bert.base))
    repeated = plm.RepeatedRows(bert.base, rows, pairs, 4)
    for seed in range(3):
        repeated.log_probs(bert.mask(seed, (4, 4)))
    assert runs == [3, 1, 1, 1]


def test_a_mask_that_reaches_below_what_was_run(bert: Tiny, mpnet: Tiny) -> None:
    rows, pairs = rows_and_pairs(asked_of(bert.base))
    repeated = plm.RepeatedRows(bert.base, rows, pairs, 4)
    with pytest.raises(MaskMismatchError, match="from 3 on, but what lies below layer 4"):
        repeated.log_probs(bert.mask(0, (3, 4)))
    with pytest.raises(MaskMismatchError, match="was made for base"):
        repeated.log_probs(mpnet.mask(0, (4, 4)))


def test_what_cannot_be_asked(bert: Tiny) -> None:
    base = bert.base
    row = plm.EncodedRow((2, 4, 3), (1,))
    one = np.array([[0, 5]])
    for rows, pairs, first, message in (
        ([], one, 3, "at least one row"),
        ([plm.EncodedRow((2, 4, 3), (0, 1))], one, 3, "one slot here, not 2"),
        ([row], np.array([0, 5]), 3, "a row and a token each"),
        ([row], np.array([[1, 5]]), 3, "rows below 1"),
        ([row], np.array([[0, base.vocab_size]]), 3, "tokens below"),
        ([row], one, 0, "layers are 1 to 4"),
        ([row], one, 5, "layers are 1 to 4"),
    ):
        with pytest.raises(ValueError, match=message):
            plm.RepeatedRows(base, rows, pairs, first)


@pytest.mark.parametrize("normalize", plm.NORMALIZATIONS)
@pytest.mark.parametrize("scoring", plm.SCORINGS)
def test_the_terms_of_a_plan_add_up_to_its_scores(
    tiny: Tiny, scoring: plm.choices.Scoring, normalize: plm.choices.Normalize
) -> None:
    plan = plm.plan_choices(
        tiny.base, CONTEXT, CHOICES, tiny.union(1, 2), scoring=scoring, normalize=normalize
    )
    readings = plm.Engine(tiny.base).read(plan.probes)
    for term, score in zip(plan.terms(), plan.scores(readings), strict=True):
        log_probs = [float(readings[probe].log_probs[0, column]) for probe, column in term.places]
        assert float(term.weights @ np.array(log_probs)) == pytest.approx(score.score, abs=1e-4)
