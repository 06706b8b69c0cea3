"""The key of an answer: another one as soon as anything differs that decides the answer."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.cache import AnswerKeys
from app.cache.keys import KEY_BYTES
from masks import RelationMask
from plm import BaseModel, EncodedRow, Probe, TokenScores, TopTokens, answer_token_ids

ROW = EncodedRow((2, 7, 4, 9, 3), (2,), 3)
TOP = TopTokens(10, words=False, excluded=(7, 8), targets=(5, 6), among_targets=False)
SCORES = TokenScores(np.array([[5, 6, 7]], dtype=np.int32))

# Of every field another value than above: a field that is added has to be added here too.
ROWS: dict[str, Any] = {
    "input_ids": (2, 7, 4, 9, 8),
    "slots": (3,),
    "second_segment": None,
}
TOPS: dict[str, Any] = {
    "count": 9,
    "words": True,
    "excluded": (8, 7),
    "targets": None,
    "among_targets": True,
}
TOKENS: dict[str, Any] = {"tokens": np.array([[5, 6, 8]], dtype=np.int32)}


@dataclass(frozen=True)
class FakeMask:
    """All of a mask that a key looks at."""

    digest: str


@pytest.fixture(scope="module")
def keys(base: BaseModel) -> AnswerKeys:
    return AnswerKeys(base, answer_token_ids(base))


@pytest.fixture(scope="module")
def mask(make_mask: Callable[..., RelationMask]) -> RelationMask:
    return make_mask("IsA")


def test_equal_probes_have_the_same_key(base: BaseModel, mask: RelationMask) -> None:
    one = AnswerKeys(base, answer_token_ids(base))
    other = AnswerKeys(replace(base), answer_token_ids(base))
    for wanted in (TOP, SCORES):
        copied = replace(wanted)
        key = one(Probe(ROW, mask, wanted))
        assert key == other(Probe(replace(ROW), replace(mask), copied))
        assert len(key) == KEY_BYTES


def test_the_fields_that_are_changed_below_are_all_there_are() -> None:
    assert set(ROWS) == {field.name for field in fields(EncodedRow)}
    assert set(TOPS) == {field.name for field in fields(TopTokens)}
    assert set(TOKENS) == {field.name for field in fields(TokenScores)}
    assert {field.name for field in fields(Probe)} == {"row", "mask", "wanted"}


@pytest.mark.parametrize("name", ROWS)
def test_every_field_of_the_row_counts(keys: AnswerKeys, mask: RelationMask, name: str) -> None:
    changed = replace(ROW, **{name: ROWS[name]})
    assert keys(Probe(changed, mask, TOP)) != keys(Probe(ROW, mask, TOP))
    assert keys(Probe(changed, mask, SCORES)) != keys(Probe(ROW, mask, SCORES))


@pytest.mark.parametrize("name", TOPS)
def test_every_field_of_what_is_wanted_counts(
    keys: AnswerKeys, mask: RelationMask, name: str
) -> None:
    changed = replace(TOP, **{name: TOPS[name]})
    assert keys(Probe(ROW, mask, changed)) != keys(Probe(ROW, mask, TOP))


@pytest.mark.parametrize(
    "tokens", [[[5, 6, 8]], [[5], [6], [7]], [[5, 6]], [[5, 6, 7], [5, 6, 7]], [[]]]
)
def test_the_tokens_scored_and_their_shape_count(
    keys: AnswerKeys, mask: RelationMask, tokens: list[list[int]]
) -> None:
    changed = TokenScores(np.array(tokens, dtype=np.int32))
    assert keys(Probe(ROW, mask, changed)) != keys(Probe(ROW, mask, SCORES))


def test_tokens_scored_are_told_by_value_and_not_by_layout(
    keys: AnswerKeys, mask: RelationMask
) -> None:
    tokens = np.arange(6, dtype=np.int32).reshape(2, 3)
    views = (tokens, np.asfortranarray(tokens), np.repeat(tokens, 2, axis=1)[:, ::2])
    assert len({keys(Probe(ROW, mask, TokenScores(view))) for view in views}) == 1


def test_the_mask_counts(keys: AnswerKeys, make_mask: Callable[..., RelationMask]) -> None:
    masks = (None, make_mask("IsA"), make_mask("IsA", seed=1), make_mask("MadeOf"))
    assert len({keys(Probe(ROW, mask, TOP)) for mask in masks}) == len(masks)


def test_the_model_counts(base: BaseModel, mask: RelationMask) -> None:
    words = answer_token_ids(base)
    fewer = words.clone()
    fewer[int(words.nonzero()[0])] = False
    makers = (
        AnswerKeys(base, words),
        AnswerKeys(replace(base, digest="sha256:" + "0" * 64), words),
        AnswerKeys(replace(base, dtype=torch.bfloat16), words),
        AnswerKeys(replace(base, products=torch.bfloat16), words),
        AnswerKeys(replace(base, device=torch.device("cuda")), words),
        AnswerKeys(base, fewer),
    )
    assert len({make(Probe(ROW, mask, TOP)) for make in makers}) == len(makers)


# Few numbers and short lists, so that probes are often equal, and often differ only in which list
# a number stands in.
_NUMBERS = st.lists(st.integers(0, 2), max_size=3).map(tuple)
_MASKS = st.one_of(st.none(), st.sampled_from(["", "a", "b"]).map(FakeMask))
_ROWS = st.builds(EncodedRow, _NUMBERS, _NUMBERS, st.one_of(st.none(), st.integers(0, 2)))
_TOPS = st.builds(
    TopTokens,
    st.integers(1, 2),
    st.booleans(),
    _NUMBERS,
    st.one_of(st.none(), _NUMBERS),
    st.booleans(),
)
_SCORES = st.builds(
    lambda rows, columns, first: TokenScores(
        np.arange(first, first + rows * columns, dtype=np.int32).reshape(rows, columns)
    ),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 1),
)


def _told(row: EncodedRow, mask: FakeMask | None, wanted: TopTokens | TokenScores) -> object:
    if isinstance(wanted, TokenScores):
        return (row, mask, wanted.tokens.shape, tuple(wanted.tokens.ravel().tolist()))
    return (row, mask, wanted)


@given(data=st.data())
def test_keys_are_equal_exactly_where_the_probes_are(keys: AnswerKeys, data: Any) -> None:
    one, other = (
        (data.draw(_ROWS), data.draw(_MASKS), data.draw(st.one_of(_TOPS, _SCORES)))
        for _ in range(2)
    )
    same = _told(*one) == _told(*other)
    assert (keys(Probe(*one)) == keys(Probe(*other))) == same


@given(row=_ROWS, mask=_MASKS, numbers=st.lists(_NUMBERS, min_size=2, max_size=2))
def test_a_number_that_changes_lists_changes_the_key(
    keys: AnswerKeys, row: EncodedRow, mask: FakeMask | None, numbers: list[tuple[int, ...]]
) -> None:
    """The same numbers in the same order, divided otherwise, are another question."""
    joined = (*numbers[0], *numbers[1])
    divided = {
        (joined[:cut], joined[cut:]): keys(
            Probe(replace(row, input_ids=joined[:cut], slots=joined[cut:]), mask, TOP)  # type: ignore[arg-type]
        )
        for cut in range(len(joined) + 1)
    }
    assert len(set(divided.values())) == len(divided)
