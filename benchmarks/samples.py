"""Latencies of interleaved blocks, and what is said of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median over blocks, and the least and largest block."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one value for each block."""
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def of_ratios(cls, over: Sequence[float], under: Sequence[float]) -> "Spread":
        """The spread of ratios, block by block: blocks of one round shared a machine.

        Raises:
            ValueError: they do not have the same number of blocks.
        """
        return cls.of([a / b for a, b in zip(over, under, strict=True)])

    def text(self, digits: int = 2) -> str:
        """`1.23 [1.10, 1.40]`."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass
class Samples:
    """Milliseconds of the calls of one case, block by block."""

    blocks: list[list[float]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many calls there are."""
        return sum(map(len, self.blocks))

    @property
    def median(self) -> Spread:
        """The median over all calls, with the least and largest median of a block."""
        of_blocks = Spread.of([statistics.median(block) for block in self.blocks])
        return Spread(self.percentile(50), of_blocks.low, of_blocks.high)

    def percentile(self, q: float) -> float:
        """The q-th percentile (0 to 100) over all calls."""
        return float(np.percentile(np.concatenate(self.blocks), q))

    def ratio_to(self, other: "Samples") -> Spread:
        """Block by block, this median over the other's: blocks of one round shared a machine.

        Raises:
            ValueError: they do not have the same number of blocks.
        """
        return Spread.of_ratios(
            [statistics.median(block) for block in self.blocks],
            [statistics.median(block) for block in other.blocks],
        )
