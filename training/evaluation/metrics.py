"""What a rank is worth: hits at k and the reciprocal rank, kept for each fact, and their means."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.evaluation.ranks import Ranks

Average = Literal["per_relation", "per_fact"]
Values = npt.NDArray[np.float64]

KS = (1, 3, 10)
MRR = "mrr"


def hits_at_k(ranks: Ranks, k: int) -> Values:
    """Return (N,) the chance that each target is among the first `k` places (P@k of one answer).

    Without ties it is 0 or 1. A target tied over the ranks o to p is at each of them with equal
    chance, so it counts for the share of them that is at most k: a prior that ties two objects at
    the top earns half a hit for either, where a cut of the realistic rank would give it none.

    Raises:
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    places = ranks.pessimistic - ranks.optimistic + 1
    return _over_trials(np.clip(k - ranks.optimistic + 1, 0, places) / places)


def reciprocal_rank(ranks: Ranks) -> Values:
    """Return (N,) 1 / realistic rank, as PyKEEN counts it."""
    return _over_trials(1.0 / ranks.realistic)


def mean_reciprocal_rank(ranks: Ranks) -> float:
    """Return the mean of the reciprocal ranks.

    Raises:
        ValueError: no facts.
    """
    return per_fact([reciprocal_rank(ranks)])


def fact_values(ranks: Ranks, ks: Sequence[int] = KS) -> dict[str, Values]:
    """Return each metric's (N,) values by name: `hits@k` for each k, then `mrr`."""
    values = {f"hits@{k}": hits_at_k(ranks, k) for k in ks}
    values[MRR] = reciprocal_rank(ranks)
    return values


def per_fact(groups: Sequence[Values]) -> float:
    """Return the mean over all facts, of `groups` of (n,) values, one group for each relation.

    Raises:
        ValueError: no groups, or one without facts.
    """
    _check(groups)
    return float(np.concatenate(groups).mean())


def per_relation(groups: Sequence[Values]) -> float:
    """Return the mean over relations of the mean over each relation's facts.

    Raises:
        ValueError: no groups, or one without facts.
    """
    _check(groups)
    return float(np.mean([group.mean() for group in groups]))


def _over_trials(values: Values) -> Values:
    """(N,) or (K, N) -> (N,)."""
    return values if values.ndim == 1 else np.asarray(values.mean(axis=0))


def _check(groups: Sequence[Values]) -> None:
    if not groups or any(group.size == 0 for group in groups):
        raise ValueError("a mean needs at least one fact in each relation")
