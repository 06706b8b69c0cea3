"""A byte-bounded, thread-safe store of materialised mask sets."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from masks import PackedMask
from plm.base import BaseModel
from plm.device_masks import DeviceMasks
from plm.masked import MaskedLayers, check_belongs, masked_layers, materialise

# Mask sets whose uses are counted, and uses after which all counts are halved: what was popular
# an hour ago must not keep out what is popular now.
_COUNTED = 4096
_HALVE_AFTER = 2048


@dataclass(frozen=True)
class CacheStats:
    """Counters of a `MaskCache` at one moment.

    Attributes:
        hits: requests answered with a set that was held, or that is ready as it is (`count_ready`).
        misses: requests whose set was not held.
        evictions: sets dropped to make room.
        entries: sets held.
        bytes: bytes held.
        capacity: bytes that may be held.
    """

    hits: int
    misses: int
    evictions: int
    entries: int
    bytes: int
    capacity: int


class MaskCache:
    """Mask sets of one base by digest: the popular ones materialised, the others made at use.

    A set is held from its second use on if there is room, or if it was used more often of late
    than the least recently used set held, which then goes. So a flood of sets that are asked for
    once or twice evicts nothing. A set that is not held costs the making of W * M at each use,
    into memory that is warm, and no memory of its own.

    Raises:
        ValueError: the capacity is negative.
    """

    def __init__(
        self,
        base: BaseModel,
        capacity: int,
        *,
        native: bool = True,
        device_masks: DeviceMasks | None = None,
    ) -> None:
        if capacity < 0:
            raise ValueError(f"a cache holds zero bytes or more, not {capacity}")
        self._base = base
        self._capacity = capacity
        self._native = native
        self._device_masks = device_masks
        self._lock = threading.Lock()
        self._held: OrderedDict[str, MaskedLayers] = OrderedDict()
        self._uses: OrderedDict[str, int] = OrderedDict()
        self._making: set[str] = set()
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get(self, mask: PackedMask) -> MaskedLayers:
        """The mask's set, materialised or made at use.

        Raises:
            MaskMismatchError: the mask does not fit the base.
        """
        check_belongs(self._base, mask)
        size = self._size(mask)
        with self._lock:
            self._count(mask.digest)
            held = self._held.get(mask.digest)
            if held is not None:
                self._held.move_to_end(mask.digest)
                self._hits += 1
                return held
            self._misses += 1
            # One thread makes a set to keep; the others need not wait for it.
            keep = mask.digest not in self._making and self._worth_keeping(mask.digest, size)
            if keep:
                self._making.add(mask.digest)
        if keep:
            return self._make(mask)
        return masked_layers(self._base, mask, native=self._native, device_masks=self._device_masks)

    def count_ready(self) -> None:
        """Count a use of a set that nothing has to be made for, since loads apply its bits."""
        with self._lock:
            self._hits += 1

    def stats(self) -> CacheStats:
        """The counters now."""
        with self._lock:
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                entries=len(self._held),
                bytes=self._bytes,
                capacity=self._capacity,
            )

    def _size(self, mask: PackedMask) -> int:
        weights = sum(rows * columns for rows, columns in mask.shapes.values())
        return weights * self._base.dtype.itemsize

    def _count(self, digest: str) -> None:
        self._uses[digest] = self._uses.pop(digest, 0) + 1
        if len(self._uses) > _COUNTED:
            self._uses.popitem(last=False)
        if (self._hits + self._misses) % _HALVE_AFTER == _HALVE_AFTER - 1:
            for counted in self._uses:
                self._uses[counted] //= 2

    def _worth_keeping(self, digest: str, size: int) -> bool:
        uses = self._uses[digest]
        if uses < 2 or size > self._capacity:
            return False
        if self._bytes + size <= self._capacity:
            return True
        return uses > self._uses.get(next(iter(self._held)), 0)

    def _make(self, mask: PackedMask) -> MaskedLayers:
        try:
            masked = materialise(self._base, mask, device_masks=self._device_masks)
        finally:
            with self._lock:
                self._making.discard(mask.digest)
        with self._lock:
            self._held[masked.digest] = masked
            self._bytes += masked.byte_size
            while self._bytes > self._capacity:
                _, oldest = self._held.popitem(last=False)
                self._bytes -= oldest.byte_size
                self._evictions += 1
        return masked
