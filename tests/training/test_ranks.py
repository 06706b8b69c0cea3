"""Ranks against a loop over all orders of ties, one row at a time."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation import ranks as ranks_module
from training.evaluation.ranks import Ranks, rank_targets, realistic_rank

SCORES = st.sampled_from([-math.inf, -20.0, -5.0, -5.00001, -4.9999, -1.0, 0.0, 5e-6, 0.5, 3.0])


@st.composite
def problems(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, columns = draw(st.integers(0, 5)), draw(st.integers(1, 6))
    flat = draw(st.lists(SCORES, min_size=rows * columns, max_size=rows * columns))
    target = draw(st.lists(st.integers(0, columns - 1), min_size=rows, max_size=rows))
    mask = draw(st.lists(st.booleans(), min_size=columns, max_size=columns))
    candidates = torch.tensor(mask)
    candidates[target] = True
    scores = torch.tensor(flat, dtype=torch.float64).reshape(rows, columns)
    return scores, torch.tensor(target, dtype=torch.int64), candidates


def slow_rank(scores: list[float], target: int, candidates: list[bool]) -> float:
    """Mean place of the target over every order of the candidates that tie with it."""
    right = scores[target]
    tolerance = 1e-5 + 1e-4 * abs(right) if math.isfinite(right) else 0.0
    others = [s for i, s in enumerate(scores) if candidates[i] and i != target]
    better = sum(s > right + tolerance for s in others)
    ties = sum(right - tolerance <= s <= right + tolerance for s in others)
    orders = itertools.permutations(["target", *range(ties)])
    places = [better + order.index("target") + 1 for order in orders]
    return sum(places) / len(places)


@given(problems())
def test_against_all_orders_of_ties(
    problem: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    scores, target, candidates = problem
    everything = [True] * scores.shape[1]
    for mask, expected_mask in ((None, everything), (candidates, candidates.tolist())):
        expected = [
            slow_rank(row, t, expected_mask)
            for row, t in zip(scores.tolist(), target.tolist(), strict=True)
        ]
        got = realistic_rank(scores, target, candidates=mask)
        np.testing.assert_allclose(got, np.array(expected, dtype=np.float64), rtol=1e-12)


def test_a_whole_vocabulary_of_equal_scores_shares_the_middle() -> None:
    assert realistic_rank(torch.zeros(1, 30522), torch.tensor([17])).tolist() == [15261.5]


def test_the_tolerances() -> None:
    scores = torch.tensor([[-10.0, -10.0009, -10.002]])
    ranks = rank_targets(scores, torch.tensor([0]))
    assert (ranks.optimistic.tolist(), ranks.pessimistic.tolist()) == ([1], [2])
    exact = rank_targets(scores, torch.tensor([1]), absolute=0, relative=0)
    assert exact.realistic.tolist() == [2.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int64])
def test_any_real_type(dtype: torch.dtype) -> None:
    scores = torch.tensor([[3, 1, 2], [0, 0, 7]]).to(dtype)
    assert realistic_rank(scores, torch.tensor([2, 0])).tolist() == [2.0, 2.5]


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(37, 50, generator=generator).round(decimals=1)
    target = torch.randint(50, (37,), generator=generator)
    whole = rank_targets(scores, target)
    for size in (1, 50, 149):
        monkeypatch.setattr(ranks_module, "_CHUNK_SCORES", size)
        assert rank_targets(scores, target) == whole


@pytest.mark.parametrize(
    ("scores", "target", "candidates", "told"),
    [
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0]), None, "NaN"),
        (torch.zeros(3), torch.tensor([0]), None, r"\(N, V\)"),
        (torch.zeros(2, 3), torch.tensor([0]), None, r"\(N, V\)"),
        (torch.zeros(1, 3), torch.tensor([3]), None, "outside"),
        (torch.zeros(1, 3), torch.tensor([-1]), None, "outside"),
        (torch.zeros(1, 3), torch.tensor([1.0]), None, "integers"),
        (torch.zeros(1, 3), torch.tensor([True]), None, "integers"),
        (torch.zeros(1, 3), torch.tensor([0]), torch.tensor([False, True, True]), "not among"),
        (torch.zeros(1, 3), torch.tensor([0]), torch.tensor([1, 1, 1]), r"\(3,\) bool"),
        (torch.zeros(1, 3), torch.tensor([0]), torch.tensor([True]), r"\(3,\) bool"),
    ],
)
def test_refusals(
    scores: torch.Tensor, target: torch.Tensor, candidates: torch.Tensor | None, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        rank_targets(scores, target, candidates=candidates)


@pytest.mark.parametrize(
    ("first", "last"), [([0], [1]), ([2], [1]), ([1], [1, 2]), ([[[1]]], [[[1]]])]
)
def test_ranks_are_checked(first: list[int], last: list[int]) -> None:
    with pytest.raises(ValueError, match="ranks must"):
        Ranks(np.array(first), np.array(last))
