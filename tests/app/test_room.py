"""What one forward pass holds."""

from math import prod

from app.room import PassRoom
from masks import RelationMask
from plm import BaseModel, Query, Template, encode_prompt


def _query(base: BaseModel, words: int = 1, mask: RelationMask | None = None) -> Query:
    return Query(encode_prompt(base, Template.parse("[X] [Y]"), "dog " * words), mask)


def test_tokens_are_counted_with_padding(base: BaseModel) -> None:
    # A word, the mask token, [CLS] and [SEP].
    room = PassRoom(base, tokens=12, mask_bytes=0)
    assert [room.admit(_query(base)) for _ in range(4)] == [True, True, True, False]
    room = PassRoom(base, tokens=12, mask_bytes=0)
    assert room.admit(_query(base))
    # Two rows of 7 tokens are 14, a row of 4 and one of 6 padded are 12.
    assert not room.admit(_query(base, words=4))
    assert room.admit(_query(base, words=3))
    assert not room.admit(_query(base))


def test_the_first_always_fits(base: BaseModel, relation_masks: dict[str, RelationMask]) -> None:
    room = PassRoom(base, tokens=1, mask_bytes=0)
    assert room.admit(_query(base, words=20, mask=relation_masks["IsA"]))
    assert not room.admit(_query(base))


def test_mask_sets_are_bounded_and_counted_once(
    base: BaseModel, relation_masks: dict[str, RelationMask]
) -> None:
    one, two, three = (relation_masks[name] for name in ("IsA", "MadeOf", "UsedFor"))
    size = 4 * sum(prod(shape) for shape in one.shapes.values())
    room = PassRoom(base, tokens=1000, mask_bytes=2 * size)
    for mask, fits in ((one, True), (None, True), (two, True), (three, False), (one, True)):
        assert room.admit(_query(base, mask=mask)) is fits
