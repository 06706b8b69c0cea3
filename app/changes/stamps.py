"""When a change was made: an order that all replicas agree on, whatever their clocks say."""

import re
import time
from dataclasses import dataclass
from typing import Self

_TEXT = re.compile(r"([0-9]{16}):([0-9a-f]{64}|)", re.ASCII)
# How far the clock of another replica may be ahead. What is further could not be followed by any
# change that is made now, and is taken for damage.
_HORIZON = 365 * 86_400 * 1_000_000


@dataclass(frozen=True, order=True)
class Stamp:
    """When a relation's mask was put or taken away; of two for one relation, the greater holds.

    Attributes:
        clock: microseconds since 1970, or more where a change must come after another one.
        sha256: of the mask's file, 64 hexadecimal digits; empty where it was taken away. It also
            orders two changes that were made at one time, the same way on every replica.
    """

    clock: int
    sha256: str

    @property
    def text(self) -> str:
        """In ASCII, such that the order of two texts is that of their stamps."""
        return f"{self.clock:016d}:{self.sha256}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `text` gave.

        Raises:
            ValueError: it is no stamp, or lies more than a year ahead.
        """
        if (match := _TEXT.fullmatch(text)) is None:
            raise ValueError(f"{text!r:.160} is no stamp of a change")
        if (stamp := cls(int(match[1]), match[2])) > cls.horizon():
            raise ValueError(f"{text!r:.160} is no stamp of a change: it lies years ahead")
        return stamp

    @classmethod
    def horizon(cls) -> Self:
        """The latest stamp that is read now."""
        return cls(_microseconds() + _HORIZON, "")


class Clock:
    """Gives every change a later time than those seen before (a hybrid logical clock)."""

    def __init__(self) -> None:
        self._last = 0

    def see(self, stamp: Stamp) -> None:
        """Be later than this from now on."""
        self._last = max(self._last, stamp.clock)

    def next(self) -> int:
        """The time of a change made now."""
        self._last = max(self._last + 1, _microseconds())
        return self._last


def _microseconds() -> int:
    return time.time_ns() // 1000
