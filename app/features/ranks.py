"""Ranks of the truth among scored candidates, ties counted fairly, and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Scores this near to each other tie: the last bits of a sum must decide nothing.
ABSOLUTE_TOLERANCE = 1e-5
RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Rank:
    """The first and the last rank, from 1, that a candidate may take among those it ties with."""

    optimistic: int
    pessimistic: int

    @property
    def realistic(self) -> float:
        """The mean of both: the expected rank if ties stand in random order.

        Berrendorf et al. (2020), "On the Ambiguity of Rank-Based Evaluation of Entity Alignment or
        Link Prediction Methods".
        """
        return (self.optimistic + self.pessimistic) / 2

    @property
    def reciprocal(self) -> float:
        """1 / realistic rank."""
        return 1 / self.realistic

    def hits_at(self, k: int) -> float:
        """The chance to be among the first k: 0 or 1, or between them if ties reach over k."""
        places = self.pessimistic - self.optimistic + 1
        return min(max(k - self.optimistic + 1, 0), places) / places


def rank_of(
    scores: NDArray[np.float64], place: int, competing: NDArray[np.bool_] | None = None
) -> Rank:
    """The rank of the candidate at `place` among (N,) scores, higher ones first.

    A score ties with its score t if it is within 1e-5 + 1e-4 |t| of it; an infinite t ties with
    its equals only. Only candidates that are `competing` (N,) count, and itself.
    """
    score = scores[place]
    tolerance = 0.0
    if np.isfinite(score):
        tolerance = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(score)
    above = scores > score + tolerance
    level = scores >= score - tolerance
    if competing is not None:
        above &= competing
        level &= competing
    # It ties with itself, whether or not it was counted among those competing.
    level[place] = True
    return Rank(int(above.sum()) + 1, int(level.sum()))


def best_places(scores: NDArray[np.float64], count: int, left_out: Sequence[int] = ()) -> list[int]:
    """Places of the `count` highest of (N,) scores, the highest first; equal ones in their order.

    Those `left_out` are not among them; fewer come back if fewer are left.
    """
    eligible = np.ones(len(scores), np.bool_)
    eligible[list(left_out)] = False
    places = np.flatnonzero(eligible)
    among = scores[places]
    if count < len(among):
        # Sorting what cannot be shown would take longer than all the rest.
        least = np.partition(among, len(among) - count)[len(among) - count]
        reach = among >= least
        places, among = places[reach], among[reach]
    order = np.argsort(-among, kind="stable")[:count]
    return [int(place) for place in places[order]]
