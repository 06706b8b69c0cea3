"""The unions there are, and the way to a good one without trying them all."""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

# Relations in the order of the pack; none of them is the unmasked model.
Union = tuple[str, ...]
# Whether each question is answered rightly under a union, bool (Q,).
Outcomes = Callable[[Union], NDArray[np.bool_]]


def unions_of(relations: Sequence[str], sizes: Sequence[int]) -> list[Union]:
    """Every set of so many relations, the small ones first."""
    return [union for size in sorted(set(sizes)) for union in combinations(relations, size)]


def greedy_path(
    relations: Sequence[str],
    most: int,
    outcomes: Outcomes,
    questions: NDArray[np.int64] | None = None,
) -> list[Union]:
    """Forward selection: the best relation, then whichever helps it most, up to `most` of them.

    Of equals the first is taken. A step is taken even where it helps nothing: the next one may.

    Args:
        relations: that there are.
        most: size of the last union.
        outcomes: of a union; asked for the few that lie on the way.
        questions: numbers of those that count; None counts all.

    Returns:
        The unions on the way, one of each size.
    """
    path: list[Union] = []
    current: Union = ()
    for _ in range(min(most, len(relations))):
        tried = [
            tuple(name for name in relations if name in (*current, added))
            for added in relations
            if added not in current
        ]
        hits = [_hits(outcomes(union), questions) for union in tried]
        current = tried[int(np.argmax(hits))]
        path.append(current)
    return path


def _hits(outcome: NDArray[np.bool_], questions: NDArray[np.int64] | None) -> int:
    return int((outcome if questions is None else outcome[questions]).sum())
