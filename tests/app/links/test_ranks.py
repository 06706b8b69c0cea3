"""Ranks held against hand-counted ones, and against the trainer's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.features.ranks import Rank, best_places, rank_of


@pytest.mark.parametrize(
    ("scores", "place", "optimistic", "pessimistic", "realistic"),
    [
        ([-1.0, -2.0, -3.0], 0, 1, 1, 1.0),
        ([-1.0, -2.0, -3.0], 2, 3, 3, 3.0),
        ([-1.0, -2.0, -2.0, -3.0], 1, 2, 3, 2.5),
        ([-2.0, -2.0, -2.0], 2, 1, 3, 2.0),
        # Within 1e-5 + 1e-4 * 2 of it.
        ([-1.9998, -2.0, -2.0002, -2.001], 1, 1, 3, 2.0),
        ([-1.9997, -2.0], 1, 2, 2, 2.0),
        ([-math.inf, -math.inf, -700.0], 0, 2, 3, 2.5),
        ([-5.0], 0, 1, 1, 1.0),
    ],
)
def test_ties_count_half(
    scores: list[float], place: int, optimistic: int, pessimistic: int, realistic: float
) -> None:
    rank = rank_of(np.array(scores), place)
    assert (rank.optimistic, rank.pessimistic) == (optimistic, pessimistic)
    assert rank.realistic == realistic
    assert rank.reciprocal == pytest.approx(1 / realistic)


def test_only_those_competing_count_and_itself_always_does() -> None:
    scores = np.array([-1.0, -2.0, -2.0, -3.0, -3.0])
    competing = np.array([False, True, True, True, False])
    assert rank_of(scores, 3, competing) == Rank(3, 3)
    assert rank_of(scores, 4, competing) == Rank(3, 4)
    assert rank_of(scores, 1, ~competing) == Rank(2, 2)


@pytest.mark.parametrize(
    ("rank", "k", "hits"),
    [
        (Rank(1, 1), 1, 1.0),
        (Rank(2, 2), 1, 0.0),
        (Rank(1, 2), 1, 0.5),
        (Rank(2, 5), 3, 0.5),
        (Rank(2, 5), 10, 1.0),
        (Rank(11, 12), 10, 0.0),
    ],
)
def test_hits_are_the_share_of_ties_within_k(rank: Rank, k: int, hits: float) -> None:
    assert rank.hits_at(k) == hits


SCORES = st.lists(
    st.sampled_from([-1.0, -1.00005, -2.0, -2.0001, -2.001, -9.0, -math.inf]),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(SCORES, st.data())
def test_ranks_are_those_of_training(scores: list[float], data: st.DataObject) -> None:
    from training.evaluation.metrics import hits_at_k
    from training.evaluation.ranks import rank_targets

    place = data.draw(st.integers(0, len(scores) - 1))
    theirs = rank_targets(torch.tensor([scores], dtype=torch.float64), torch.tensor([place]))
    rank = rank_of(np.array(scores), place)
    assert rank.optimistic == theirs.optimistic[0]
    assert rank.pessimistic == theirs.pessimistic[0]
    for k in (1, 3, 10):
        assert rank.hits_at(k) == pytest.approx(hits_at_k(theirs, k)[0])


@settings(deadline=None)
@given(SCORES, st.data())
def test_the_best_places_are_those_of_a_full_sort(scores: list[float], data: st.DataObject) -> None:
    places = range(len(scores))
    count = data.draw(st.integers(1, 14))
    left_out = data.draw(st.sets(st.sampled_from(places)))
    expected = sorted((place for place in places if place not in left_out),
                      key=lambda place: -scores[place])  # fmt: skip
    found = best_places(np.array(scores), count, tuple(left_out))
    assert found == expected[:count]
