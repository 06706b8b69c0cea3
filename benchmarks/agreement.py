"""How far the answers of two sides are apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.tables import table

# Log-probabilities and ids of the most likely tokens at one position, the likeliest first.
Ranked = tuple[Sequence[float], Sequence[int]]


@dataclass(frozen=True)
class Agreement:
    """How far a side's answers are from ours, over all batches.

    Attributes:
        same_first: share of sentences with the same most likely token.
        largest: difference of a log-probability, among tokens that both list.
    """

    same_first: float
    largest: float


class Comparison:
    """Gathers the answers of a side beside ours."""

    def __init__(self) -> None:
        self._answers = 0
        self._same = 0
        self._largest = 0.0

    def add(self, mine: Ranked, theirs: Ranked) -> None:
        """Compare two answers to one sentence."""
        self._answers += 1
        self._same += mine[1][0] == theirs[1][0]
        other = dict(zip(theirs[1], theirs[0], strict=True))
        for score, token in zip(*mine, strict=True):
            if token in other:
                self._largest = max(self._largest, abs(score - other[token]))

    def agreement(self) -> Agreement:
        """Over all that was compared."""
        return Agreement(self._same / self._answers, self._largest)


def agreement_table(found: Mapping[str, Agreement]) -> str:
    """Markdown, a row for each side."""
    rows = [(name, f"{one.same_first:.1%}", f"{one.largest:.1e}") for name, one in found.items()]
    return table(("", "same first token", "largest difference of a log-probability"), rows)
