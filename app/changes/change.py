"""One change of a relation's mask."""

from dataclasses import dataclass

from app.catalogue import ServedMask
from app.changes.stamps import Stamp


def key_of(relation: str) -> str:
    """What two spellings of a relation have in common: in a folder they may be one file."""
    return relation.lower()


@dataclass(frozen=True, eq=False)
class Change:
    """A mask put, or taken away.

    Attributes:
        key: `key_of` its relation.
        stamp: when.
        served: the mask; None if it was taken away.
    """

    key: str
    stamp: Stamp
    served: ServedMask | None

    def follows(self, other: "Change | None") -> bool:
        """Whether it holds, and the other does not any more."""
        return other is None or self.stamp > other.stamp
