"""A byte-bounded, thread-safe store of materialised mask sets."""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from masks import PackedMask
from plm.base import BaseModel
from plm.masked import MaskedLayers, check_belongs, materialise


@dataclass(frozen=True)
class CacheStats:
    """Counters of a `MaskCache` at one moment.

    Attributes:
        hits: requests answered without materialising.
        misses: requests that materialised a mask.
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
    """Least-recently-used mask sets of one base, by digest.

    A set larger than the capacity is served but not kept. Threads that ask for the same missing
    set at once wait for one materialisation.

    Raises:
        ValueError: the capacity is negative.
    """

    def __init__(self, base: BaseModel, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"a cache holds zero bytes or more, not {capacity}")
        self._base = base
        self._capacity = capacity
        self._lock = threading.Lock()
        self._held: OrderedDict[str, MaskedLayers] = OrderedDict()
        self._pending: dict[str, Future[MaskedLayers]] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0

    def get(self, mask: PackedMask) -> MaskedLayers:
        """The mask's set, materialised if it is not held.

        Raises:
            MaskMismatchError: the mask does not fit the base.
        """
        check_belongs(self._base, mask)
        with self._lock:
            held = self._held.get(mask.digest)
            if held is not None:
                self._held.move_to_end(mask.digest)
                self._hits += 1
                return held
            pending = self._pending.get(mask.digest)
            if pending is None:
                self._misses += 1
                made: Future[MaskedLayers] = Future()
                self._pending[mask.digest] = made
            else:
                self._hits += 1
        return pending.result() if pending is not None else self._make(mask, made)

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

    def _make(self, mask: PackedMask, made: Future[MaskedLayers]) -> MaskedLayers:
        try:
            masked = materialise(self._base, mask)
        except BaseException as error:
            # Waiters get the same error; the next request tries again.
            with self._lock:
                del self._pending[mask.digest]
            made.set_exception(error)
            raise
        with self._lock:
            del self._pending[mask.digest]
            self._keep(masked)
        made.set_result(masked)
        return masked

    def _keep(self, masked: MaskedLayers) -> None:
        if masked.byte_size > self._capacity:
            return
        self._held[masked.digest] = masked
        self._bytes += masked.byte_size
        while self._bytes > self._capacity:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.byte_size
            self._evictions += 1
