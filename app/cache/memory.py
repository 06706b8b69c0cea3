"""Answers in the memory of this process."""

from collections import OrderedDict

from app.cache.keys import KEY_BYTES

# Of a key and a value as Python objects, and of their places in the dictionary and its list.
_ENTRY_BYTES = KEY_BYTES + 33 + 33 + 120


class MemoryTier:
    """The answers used last, by key, up to a number of bytes. For one thread.

    An answer that alone is larger than the whole is not kept.

    Attributes:
        capacity: bytes that may be held; 0 for none.
        bytes: bytes held, keys and bookkeeping included.

    Raises:
        ValueError: the capacity is negative.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"a cache holds zero bytes or more, not {capacity}")
        self.capacity = capacity
        self.bytes = 0
        self._held: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes) -> bytes | None:
        """What was put under the key, if it is still held."""
        value = self._held.get(key)
        if value is not None:
            self._held.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Hold a value, and drop those that were not used for the longest time."""
        size = _ENTRY_BYTES + len(value)
        if size > self.capacity:
            return
        replaced = self._held.pop(key, None)
        if replaced is not None:
            self.bytes -= _ENTRY_BYTES + len(replaced)
        self._held[key] = value
        self.bytes += size
        while self.bytes > self.capacity:
            _, oldest = self._held.popitem(last=False)
            self.bytes -= _ENTRY_BYTES + len(oldest)
