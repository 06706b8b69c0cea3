"""How much of what waits goes into one forward pass."""

from math import prod

from masks import PackedMask
from plm import BaseModel, Query


class PassRoom:
    """Room for queries: tokens, padding included, and bytes of the mask sets they need.

    Masked weights are made for all sets of a batch at once, so that sets beyond what the cache
    holds would need memory that nobody set aside. The first query is admitted whatever it needs.
    """

    def __init__(self, base: BaseModel, *, tokens: int, mask_bytes: int) -> None:
        self._weight_bytes = base.dtype.itemsize
        self._tokens = tokens
        self._mask_bytes = mask_bytes
        self._rows = 0
        self._longest = 0
        self._sets: dict[str, int] = {}

    def admit(self, work: Query) -> bool:
        """Take the query too, if it fits."""
        longest = max(self._longest, len(work.prompt.input_ids))
        sets = self._sets
        if work.mask is not None and work.mask.digest not in sets:
            sets = {**sets, work.mask.digest: self._bytes_of(work.mask)}
        fits = longest * (self._rows + 1) <= self._tokens and (
            sets is self._sets or sum(sets.values()) <= self._mask_bytes
        )
        if self._rows and not fits:
            return False
        self._rows, self._longest, self._sets = self._rows + 1, longest, sets
        return True

    def _bytes_of(self, mask: PackedMask) -> int:
        return sum(prod(shape) for shape in mask.shapes.values()) * self._weight_bytes
