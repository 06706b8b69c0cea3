"""Facts whose object is one token are kept, the others come with the reason."""

import pytest

from training.data.errors import DataError
from training.data.triples import Triple
from training.data.usable import keep_sayable

VOCABULARY = {"flax": 7, "fly": 0}


class TooManyPiecesError(ValueError):
    pass


def token_id_of(word: str) -> int:
    if word not in VOCABULARY:
        raise TooManyPiecesError(f"{word!r} is 2 tokens: {word[0]} ##{word[1:]}")
    return VOCABULARY[word]


def test_kept_and_rejected_in_order() -> None:
    facts = [
        Triple("linen", "MadeOf", "flax"),
        Triple("bird", "CapableOf", "chirping"),
        Triple("bird", "CapableOf", "fly"),
    ]
    usable, rejected = keep_sayable(facts, token_id_of)
    assert usable == (facts[0], facts[2])
    assert [item.triple for item in rejected] == [facts[1]]
    assert rejected[0].reason == "'chirping' is 2 tokens: c ##hirping"


def test_each_object_is_looked_up_once() -> None:
    asked: list[str] = []

    def remember(word: str) -> int:
        asked.append(word)
        return 1

    keep_sayable([Triple(str(i), "CapableOf", "fly") for i in range(5)], remember)
    assert asked == ["fly"]


def test_nothing_left_is_refused_and_nothing_given_is_not() -> None:
    with pytest.raises(DataError, match=r"none of the objects of 1 facts .*##hirping"):
        keep_sayable([Triple("bird", "CapableOf", "chirping")], token_id_of)
    assert keep_sayable([], token_id_of) == ((), ())


def test_other_errors_are_not_taken_for_reasons() -> None:
    def broken(word: str) -> int:
        raise RuntimeError(word)

    with pytest.raises(RuntimeError):
        keep_sayable([Triple("bird", "CapableOf", "fly")], broken)
