"""The whole search: measure the unions, choose one, and say what the choice is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation import Interval, mean_interval
from training.unions.record import Record
from training.unions.search import Union, greedy_path, unions_of
from training.unions.selection import Selection, Table, choose, cross_validate

# Unions tried since the start, and how many are to be tried as far as is known.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Found:
    """One way to choose, and what it chose.

    Attributes:
        union: chosen on all questions.
        accuracy: of that union on these very questions, which is too good for the choice.
        selection: the choice cross-validated.
    """

    union: Union
    accuracy: float
    selection: Selection


@dataclass(frozen=True, eq=False)
class Findings:
    """What a search found.

    Attributes:
        relations: that were combined.
        sizes: of the unions, ascending.
        unmasked: accuracy of the unmasked model.
        table: all unions that were tried, single relations among them.
        exhaustive: the best of all unions of the sizes; None where they were not all tried.
        greedy: the best on the way of forward selection.
        path: that way.
    """

    relations: tuple[str, ...]
    sizes: tuple[int, ...]
    unmasked: Interval
    table: Table
    exhaustive: Found | None
    greedy: Found
    path: tuple[Union, ...]

    @property
    def best(self) -> Found:
        """What to take: of all unions where all were tried."""
        return self.exhaustive or self.greedy

    @property
    def same(self) -> bool:
        """Whether forward selection found what the search over all did."""
        return self.exhaustive is not None and self.exhaustive.union == self.greedy.union


class Search:
    """Tries unions, those recorded already left out."""

    def __init__(
        self,
        best: Callable[[Union], NDArray[np.int64]],
        record: Record,
        tell: Tell = lambda done, expected: None,
    ) -> None:
        """Set a search up: `best` gives the choices (Q,) taken under a union."""
        self._best = best
        self._record = record
        self._tell = tell
        self._done = 0
        self._expected = 0

    def expect(self, unions: Sequence[Union]) -> None:
        """Count those of the unions that are not recorded as what is to be tried."""
        self._expected = self._done + sum(union not in self._record for union in unions)
        self._tell(self._done, self._expected)

    def outcomes(self, union: Union) -> NDArray[np.bool_]:
        """Whether each question is answered rightly, bool (Q,); tried now if it never was."""
        if union not in self._record:
            self._record.add(union, self._best(union))
            self._done += 1
            self._expected = max(self._expected, self._done)
            self._tell(self._done, self._expected)
        return self._record.found[union]


def run_search(
    search: Search,
    relations: Sequence[str],
    sizes: Sequence[int],
    folds: Sequence[NDArray[np.int64]],
    *,
    seed: int,
    exhaustive: bool = True,
) -> Findings:
    """Try unions of the sizes and cross-validate the choice of the best.

    Args:
        search: tries them.
        relations: to combine.
        sizes: of the unions, each from 1 to the number of relations.
        folds: numbers of the questions in each.
        seed: of the bootstrap.
        exhaustive: False tries only what lies on the way of forward selection.
    """
    sizes = tuple(sorted(set(sizes)))
    singles = unions_of(relations, (1,))
    every = unions_of(relations, sizes) if exhaustive else []
    needed = list(dict.fromkeys([(), *singles, *every]))
    search.expect(needed)
    tried = {union: search.outcomes(union) for union in needed}

    def outcomes(union: Union) -> NDArray[np.bool_]:
        tried[union] = search.outcomes(union)
        return tried[union]

    def found(chooser: Callable[[NDArray[np.int64]], Union]) -> Found:
        union = chooser(np.arange(len(tried[()])))
        selection = cross_validate(chooser, outcomes, folds, seed=seed)
        return Found(union, float(tried[union].mean()), selection)

    def greedily(questions: NDArray[np.int64]) -> Union:
        path = greedy_path(relations, sizes[-1], outcomes, questions)
        allowed = [union for union in path if len(union) in sizes]
        return choose(Table.of(allowed, tried), questions)

    of_all = None
    if exhaustive:
        table = Table.of(every, tried)
        of_all = found(lambda questions: choose(table, questions))
    greedy = found(greedily)
    path = greedy_path(relations, sizes[-1], outcomes)
    unions = sorted((union for union in tried if union), key=_order(relations))
    return Findings(
        relations=tuple(relations),
        sizes=sizes,
        unmasked=mean_interval([tried[()].astype(np.float64)], seed=seed),
        table=Table.of(unions, tried),
        exhaustive=of_all,
        greedy=greedy,
        path=tuple(path),
    )


def _order(relations: Sequence[str]) -> Callable[[Union], tuple[int, tuple[int, ...]]]:
    places = {name: place for place, name in enumerate(relations)}
    return lambda union: (len(union), tuple(places[name] for name in union))
