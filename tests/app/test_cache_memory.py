"""The answers in memory: the last used ones, and never more bytes than may be held."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cache import MemoryTier

# Of an entry whose value is empty.
EMPTY = 218


def _key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_put_is_got_until_it_is_replaced() -> None:
    tier = MemoryTier(1000)
    assert tier.get(_key(1)) is None
    tier.put(_key(1), b"one")
    tier.put(_key(2), b"")
    assert tier.get(_key(1)) == b"one"
    assert tier.get(_key(2)) == b""
    tier.put(_key(1), b"another")
    assert tier.get(_key(1)) == b"another"
    assert len(tier) == 2
    assert tier.bytes == 2 * EMPTY + len(b"another")


def test_the_least_recently_used_goes_first() -> None:
    tier = MemoryTier(3 * EMPTY)
    for number in range(3):
        tier.put(_key(number), b"")
    tier.get(_key(0))
    tier.put(_key(3), b"")
    assert [tier.get(_key(number)) for number in range(4)] == [b"", None, b"", b""]


def test_room_is_made_by_bytes_and_not_by_number() -> None:
    tier = MemoryTier(10 * EMPTY)
    for number in range(10):
        tier.put(_key(number), b"")
    tier.put(_key(10), b"x" * (5 * EMPTY))
    assert len(tier) == 1 + 4
    assert tier.bytes == tier.capacity


def test_what_is_larger_than_the_whole_is_not_kept_and_drops_nothing() -> None:
    tier = MemoryTier(2 * EMPTY)
    tier.put(_key(1), b"kept")
    tier.put(_key(2), b"x" * (EMPTY + 1))
    assert tier.get(_key(1)) == b"kept"
    assert tier.get(_key(2)) is None


def test_a_tier_of_no_bytes_holds_nothing() -> None:
    tier = MemoryTier(0)
    tier.put(_key(1), b"")
    assert tier.get(_key(1)) is None
    assert tier.bytes == 0


def test_fewer_than_no_bytes_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="zero bytes or more, not -1"):
        MemoryTier(-1)


@given(
    capacity=st.integers(0, 2000),
    puts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 600)), max_size=40),
)
def test_it_never_holds_more_than_it_may(capacity: int, puts: list[tuple[int, int]]) -> None:
    tier = MemoryTier(capacity)
    latest: dict[int, int] = {}
    for number, size in puts:
        tier.put(_key(number), bytes(size))
        if size + EMPTY <= capacity:
            latest[number] = size
        assert tier.bytes <= capacity
    held = {number: value for number in range(6) if (value := tier.get(_key(number))) is not None}
    assert tier.bytes == sum(len(value) + EMPTY for value in held.values())
    assert len(tier) == len(held)
    assert {number: len(value) for number, value in held.items()}.items() <= latest.items()


@pytest.mark.parametrize("size", [8, 80, 8000])
def test_the_bytes_it_counts_are_about_those_it_takes(size: int) -> None:
    tier = MemoryTier(4 * 2**20)
    number = 0
    tracemalloc.start()
    try:
        while tier.bytes < tier.capacity - EMPTY - size:
            tier.put(_key(number), bytes(bytearray(size)))
            number += 1
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.7 < taken / tier.bytes < 1.1
