"""Metrics against sums over the places that a tied target may take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics import (
    fact_values,
    hits_at_k,
    mean_reciprocal_rank,
    per_fact,
    per_relation,
    reciprocal_rank,
)
from training.evaluation.ranks import Ranks, stacked


def ranks_of(*pairs: tuple[int, int]) -> Ranks:
    return Ranks(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))


@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 15))
def test_hits_are_the_share_of_places_within_k(first: int, more: int, k: int) -> None:
    places = range(first, first + more + 1)
    expected = sum(place <= k for place in places) / len(places)
    assert hits_at_k(ranks_of((first, first + more)), k).tolist() == [expected]


@given(st.integers(1, 50), st.integers(1, 12))
def test_without_ties_hits_are_the_cut_of_the_rank(rank: int, k: int) -> None:
    assert hits_at_k(ranks_of((rank, rank)), k).tolist() == [float(rank <= k)]


def test_the_reciprocal_rank_is_that_of_the_realistic_rank() -> None:
    ranks = ranks_of((1, 1), (1, 4), (4, 4))
    assert reciprocal_rank(ranks).tolist() == [1.0, 0.4, 0.25]
    assert mean_reciprocal_rank(ranks) == pytest.approx(0.55)


def test_values_of_each_fact_by_name() -> None:
    values = fact_values(ranks_of((1, 1), (2, 2), (5, 5)))
    assert {name: per_name.tolist() for name, per_name in values.items()} == {
        "hits@1": [1, 0, 0],
        "hits@3": [1, 1, 0],
        "hits@10": [1, 1, 1],
        "mrr": [1, 0.5, 0.2],
    }


def test_the_two_means_are_what_their_names_say() -> None:
    groups = [np.array([1.0, 1.0, 1.0]), np.array([0.0])]
    assert per_fact(groups) == 0.75
    assert per_relation(groups) == 0.5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        hits_at_k(ranks_of((1, 1)), 0)
    for mean in (per_fact, per_relation):
        with pytest.raises(ValueError, match="at least one fact"):
            mean([])
        with pytest.raises(ValueError, match="at least one fact"):
            mean([np.array([1.0]), np.array([])])


def test_ranked_several_times_a_fact_counts_with_its_mean() -> None:
    once, again = (
        Ranks(np.array([1, 4]), np.array([1, 4])),
        Ranks(np.array([2, 5]), np.array([2, 6])),
    )
    both = stacked([once, again])
    assert len(both) == 2
    for values in (reciprocal_rank, lambda ranks: hits_at_k(ranks, 1)):
        np.testing.assert_allclose(values(both), (values(once) + values(again)) / 2)
    with pytest.raises(ValueError, match="one shape"):
        Ranks(np.ones((2, 3), dtype=np.int64), np.ones((3, 2), dtype=np.int64))
