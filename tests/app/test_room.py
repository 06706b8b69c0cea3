"""What one forward pass holds."""

from app.room import PassRoom
from plm import EncodedRow, Probe, TopTokens


def _probe(tokens: int) -> Probe:
    return Probe(EncodedRow((5,) * tokens, (1,)), None, TopTokens())


def test_tokens_are_counted_without_padding() -> None:
    room = PassRoom(tokens=12)
    assert [room.admit(_probe(4)) for _ in range(4)] == [True, True, True, False]
    room = PassRoom(tokens=12)
    assert [room.admit(_probe(n)) for n in (4, 7, 1, 1)] == [True, True, True, False]


def test_a_long_row_does_not_make_many_short_ones_long() -> None:
    room = PassRoom(tokens=100)
    assert room.admit(_probe(80))
    assert room.admit(_probe(5))
    # Three rows padded to 80 tokens are more than twice the budget.
    assert not room.admit(_probe(5))


def test_the_first_always_fits() -> None:
    room = PassRoom(tokens=1)
    assert room.admit(_probe(20))
    assert not room.admit(_probe(4))
