"""Readings as bytes: they come back as they were, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from app.cache.values import pack, seal, unpack, unseal
from plm import Reading, TokenScores, TopTokens

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))

_FLOATS = st.floats(width=32)


@given(scores=st.lists(_FLOATS, max_size=20), data=st.data())
def test_the_most_likely_tokens_come_back_bit_for_bit(
    scores: list[float], data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=len(scores), max_size=len(scores)))
    reading = Reading(np.array(scores, dtype=np.float32), np.array(ids, dtype=np.int32))
    again = unpack(TopTokens(max(1, len(scores))), pack(reading))
    assert again is not None
    assert again.token_ids is not None
    assert again.log_probs.dtype == np.float32
    assert again.token_ids.dtype == np.int32
    assert again.log_probs.tobytes() == reading.log_probs.tobytes()
    assert again.token_ids.tolist() == ids


@given(
    scores=stn.arrays(np.float32, stn.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=5))
)
def test_scores_come_back_in_their_shape(scores: np.ndarray) -> None:
    wanted = TokenScores(np.zeros(scores.shape, dtype=np.int32))
    again = unpack(wanted, pack(Reading(scores, None)))
    assert again is not None
    assert again.token_ids is None
    assert again.log_probs.shape == scores.shape
    assert again.log_probs.tobytes() == scores.tobytes()


def test_what_comes_back_cannot_be_changed() -> None:
    reading = Reading(np.zeros(2, dtype=np.float32), np.zeros(2, dtype=np.int32))
    again = unpack(TopTokens(2), pack(reading))
    assert again is not None
    with pytest.raises(ValueError, match="read-only"):
        again.log_probs[0] = 1


def test_a_view_is_packed_as_what_it_shows() -> None:
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    again = unpack(TokenScores(np.zeros((3, 2), np.int32)), pack(Reading(scores.T, None)))
    assert again is not None
    assert again.log_probs.tolist() == scores.T.tolist()


@pytest.mark.parametrize("length", [1, 7, 9, 8 * 4, 8 * 5])
def test_a_length_that_no_such_reading_has_is_told(length: int) -> None:
    assert unpack(TopTokens(3), b"\0" * length) is None
    assert unpack(TokenScores(np.zeros((2, 3), np.int32)), b"\0" * length) is None


@given(packed=st.binary(max_size=64))
def test_a_seal_lets_through_what_was_sealed(packed: bytes) -> None:
    assert unseal(KEY, seal(KEY, packed)) == packed


@given(packed=st.binary(max_size=64), data=st.data())
def test_no_bit_can_be_changed_unnoticed(packed: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, packed))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    assert unseal(KEY, bytes(sealed)) is None


@given(packed=st.binary(max_size=64), data=st.data())
def test_nothing_can_be_cut_off_or_added_unnoticed(packed: bytes, data: st.DataObject) -> None:
    sealed = seal(KEY, packed)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    assert unseal(KEY, sealed[:cut]) is None
    assert unseal(KEY, sealed + data.draw(st.binary(min_size=1, max_size=8))) is None


@given(packed=st.binary(max_size=64))
def test_the_value_of_another_key_is_told(packed: bytes) -> None:
    assert unseal(OTHER, seal(KEY, packed)) is None


@pytest.mark.parametrize(
    "value", [None, 7, "text", [b"list"], {}, b"", b"short", ValueError("error"), 1.5, True]
)
def test_what_is_no_value_at_all_is_told(value: object) -> None:
    assert unseal(KEY, value) is None
