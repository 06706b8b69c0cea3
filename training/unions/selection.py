"""The best of many unions, and what it is worth on questions that had no say in the choice.

The best accuracy among thousands is too good: some union answers these very questions well by
chance. So the choice itself is cross-validated (Stone 1974; Cawley & Talbot 2010, "On Over-fitting
in Model Selection"): a union is chosen on all folds but one and judged on that one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data import DataError
from training.evaluation import Interval, mean_interval, paired_interval
from training.unions.search import Union

# Chooses a union by its right answers to the questions of these numbers.
Choose = Callable[[NDArray[np.int64]], Union]


@dataclass(frozen=True, eq=False)
class Table:
    """What was measured.

    Attributes:
        unions: U of them, the small ones first.
        right: bool (U, Q), whether each question is answered rightly under each.
    """

    unions: tuple[Union, ...]
    right: NDArray[np.bool_]

    @classmethod
    def of(cls, unions: Sequence[Union], outcomes: Mapping[Union, NDArray[np.bool_]]) -> "Table":
        """The outcomes (Q,) of these unions."""
        return cls(tuple(unions), np.array([outcomes[union] for union in unions]))

    def ranked(self) -> list[Union]:
        """The unions, the most accurate first; of equals the one of fewer relations."""
        order = np.argsort(-self.right.sum(axis=1), kind="stable")
        return [self.unions[place] for place in order]


@dataclass(frozen=True)
class Selection:
    """A way to choose a union, cross-validated.

    Attributes:
        accuracy: over all questions, each answered under the union that was chosen without its
            fold, with a bootstrap interval over questions.
        gain: the same less the accuracy of the unmasked model on the same questions.
        chosen: the union of each fold.
    """

    accuracy: Interval
    gain: Interval
    chosen: tuple[Union, ...]


def choose(table: Table, questions: NDArray[np.int64] | None = None) -> Union:
    """The union with the most right answers to these questions; of equals the first, the smaller.

    None counts all questions.
    """
    right = table.right if questions is None else table.right[:, questions]
    return table.unions[int(right.sum(axis=1).argmax())]


def folds_of(questions: int, folds: int, seed: int) -> list[NDArray[np.int64]]:
    """Numbers of the questions in each fold, drawn at random, sizes alike.

    Raises:
        DataError: fewer than two folds, or fewer questions than folds.
    """
    if folds < 2:
        raise DataError(f"cross-validation takes two folds or more, not {folds}")
    if questions < folds:
        raise DataError(
            f"{folds} folds need {folds} questions at least, not {questions}; give more questions, "
            f"or fewer folds"
        )
    order = np.random.default_rng(seed).permutation(questions)
    return [np.sort(fold) for fold in np.array_split(order, folds)]


def cross_validate(
    chooser: Choose,
    outcomes: Callable[[Union], NDArray[np.bool_]],
    folds: Sequence[NDArray[np.int64]],
    *,
    seed: int,
) -> Selection:
    """Choose without each fold in turn, and judge on it.

    Args:
        chooser: chooses by the questions given alone.
        outcomes: of a union, and of the empty one, the unmasked model; bool (Q,).
        folds: numbers of the questions in each; together all, each once.
        seed: of the bootstrap.
    """
    unmasked = outcomes(())
    held_out = np.zeros(len(unmasked), np.bool_)
    chosen = []
    for number, fold in enumerate(folds):
        others = np.concatenate([one for place, one in enumerate(folds) if place != number])
        union = chooser(np.sort(others))
        held_out[fold] = outcomes(union)[fold]
        chosen.append(union)
    values = held_out.astype(np.float64)
    return Selection(
        mean_interval([values], seed=seed),
        paired_interval([values], [unmasked.astype(np.float64)], seed=seed),
        tuple(chosen),
    )
