from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import plm
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def test_a_word_is_its_one_token(tiny: Tiny) -> None:
    for word in ("cloth", "animal", "1990"):
        token_id = plm.object_token_id(tiny.base, word)
        assert plm.object_text(tiny.base, token_id) == word
        assert plm.object_token_id(tiny.base, f" {word} ") == token_id


def test_byte_level_bpe_takes_the_token_of_the_middle_of_a_sentence(roberta: Tiny) -> None:
    token_id = plm.object_token_id(roberta.base, "cloth")
    assert tokenizer_of(roberta.base).convert_ids_to_tokens(token_id) == "\u0120cloth"
    assert plm.object_text(roberta.base, token_id) == "cloth"


def test_case_follows_the_tokenizer(bert: Tiny) -> None:
    assert plm.object_token_id(bert.base, "Cloth") == plm.object_token_id(bert.base, "cloth")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("eating", "'eating' is 2 tokens of tiny-bert \\(eat, ##ing\\)"),
        ("red house", "'red house' is 2 tokens"),
        ("dog.", "is 2 tokens"),
        ("zebra", "'zebra' is not in the vocabulary"),
        ("[MASK]", "special token"),
        ("", "is no word"),
        ("  ", "is no word"),
        ("\ud800", "is no word"),
        ("\u200b", "is 0 tokens"),
    ],
)
def test_words_are_never_cut(bert: Tiny, word: str, message: str) -> None:
    with pytest.raises(plm.ObjectError, match=message):
        plm.object_token_id(bert.base, word)


def test_words_of_byte_level_bpe_are_never_cut(roberta: Tiny) -> None:
    with pytest.raises(plm.ObjectError, match=r"'zebra crossing' is .* tokens of tiny-roberta"):
        plm.object_token_id(roberta.base, "zebra crossing")
    with pytest.raises(plm.ObjectError, match="special token"):
        plm.object_token_id(roberta.base, "<mask>")


@pytest.mark.parametrize("token_id", [-1, 10**6])
def test_ids_outside_the_vocabulary(tiny: Tiny, token_id: int) -> None:
    with pytest.raises(plm.ObjectError, match="no token of"):
        plm.object_text(tiny.base, token_id)


def test_continuations_keep_their_mark(bert: Tiny) -> None:
    token_id = tokenizer_of(bert.base).convert_tokens_to_ids("##ing")
    assert plm.object_text(bert.base, token_id) == "##ing"


def test_answers_are_whole_words(tiny: Tiny) -> None:
    base = tiny.base
    allowed = plm.answer_token_ids(base)
    assert allowed.shape == (base.vocab_size,)
    for word in ("cloth", "animal", "1990", "a"):
        assert allowed[plm.object_token_id(base, word)]
    assert not allowed[tokenizer_of(base).all_special_ids].any()
    refused = [".", ",", "[unused1]", "##ing", "[CLS]", "\u0120.", "cl", "\u0120\u0142"]
    vocabulary = tokenizer_of(base).get_vocab()
    present = [token for token in refused if token in vocabulary]
    assert present
    assert not allowed[[vocabulary[token] for token in present]].any()


def test_answers_of_byte_level_bpe_start_a_word(roberta: Tiny) -> None:
    allowed = plm.answer_token_ids(roberta.base)
    texts = tokenizer_of(roberta.base).convert_ids_to_tokens(allowed.nonzero().flatten().tolist())
    assert texts
    assert all(text.startswith("\u0120") for text in texts)
