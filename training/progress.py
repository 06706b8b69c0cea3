"""How much of a run's learning is done, over all its masks."""

from collections.abc import Sequence


class Workload:
    """Shares of work done, each mask weighed by the facts it is learned from.

    Args:
        sizes: training facts of each mask that is to be learned.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)
        self._done = [0.0] * len(self._sizes)

    def tell(self, number: int, share: float) -> None:
        """Note that so much of the mask in that place is done, 0 to 1."""
        self._done[number] = share

    @property
    def share(self) -> float:
        """Share of everything that is done, 0 to 1; 1 where there is nothing to do."""
        total = sum(self._sizes)
        if not total:
            return 1.0
        return sum(size * done for size, done in zip(self._sizes, self._done, strict=True)) / total
