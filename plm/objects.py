"""Objects of a relation as tokens: words of exactly one, and phrases of several."""

import re
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from plm.base import BaseModel
from plm.errors import BaseModelError, ObjectError
from plm.text import collapse_spaces, forbidden_character
from plm.tokenizer import Tokenizer

WordTokens = Literal["wordpiece", "byte_bpe"]

# How byte-level BPE writes the space before a word (GPT-2's byte alphabet).
_SPACE = "\u0120"
# Tokens that only fill a vocabulary ([unused7], madeupword0001), and special tokens of the model
# that a vocabulary was taken from (MPNet's holds BERT's [CLS]).
_FILLER = re.compile(r"\[[^\]]*\]|<[^>]*>|madeupword\d+")


def word_token_kind(name: str, tokenizer: Tokenizer) -> WordTokens:
    """How a tokenizer marks where words begin.

    Raises:
        BaseModelError: neither WordPiece nor byte-level BPE; `name` is the base's.
    """
    backend = tokenizer.backend
    kind = type(backend.model).__name__
    if kind == "WordPiece":
        return "wordpiece"
    if kind == "BPE" and type(backend.decoder).__name__ == "ByteLevel":
        return "byte_bpe"
    raise BaseModelError(
        f"the tokenizer of {name!r} is of kind {kind}; supported are WordPiece and byte-level BPE"
    )


def object_token_id(base: BaseModel, word: str) -> int:
    """The one token of a word in the middle of a sentence; the word is never cut.

    With byte-level BPE (RoBERTa) that is the token with the leading space.

    Raises:
        ObjectError: the word is not exactly one token (the message names its pieces), is unknown
            to the vocabulary, or is a special token.
    """
    text = word.strip()
    if not text or forbidden_character(text):
        raise ObjectError(f"object {word!r:.80} is no word")
    encoding = base.tokenizer.backend.encode(_lead(base) + text, add_special_tokens=False)
    ids: list[int] = encoding.ids
    if len(ids) != 1:
        pieces = ", ".join(encoding.tokens[:16]) or "none"
        raise ObjectError(
            f"object {text!r:.80} is {len(ids)} tokens of {base.name} ({pieces}); "
            f"it must be exactly one"
        )
    if ids[0] == base.tokenizer.unk_token_id:
        raise ObjectError(f"object {text!r:.80} is not in the vocabulary of {base.name}")
    if ids[0] in base.tokenizer.special_ids:
        raise ObjectError(f"object {text!r:.80} is a special token of {base.name}")
    return ids[0]


def tokenise_objects(
    base: BaseModel, texts: Sequence[str], *, most: int
) -> list[tuple[int, ...] | ObjectError]:
    """The tokens of objects, words and phrases, in the middle of a sentence, all in one call.

    White space is trimmed and collapsed. With byte-level BPE the first token is the one with the
    leading space. In place of an object that cannot be asked for stands the error that says why:
    it is blank, holds a control character, a special token or what the vocabulary does not know,
    or is more than `most` tokens.
    """
    lead = _lead(base)
    special = base.tokenizer.special_ids
    written = [collapse_spaces(text) for text in texts]
    faults = [_no_text(text, given) for text, given in zip(written, texts, strict=True)]
    encodings = base.tokenizer.backend.encode_batch_fast(
        [lead + text for text, fault in zip(written, faults, strict=True) if fault is None],
        add_special_tokens=False,
    )
    ids_of = (encoding.ids for encoding in encodings)
    return [
        fault or _checked(base, text, next(ids_of), special, most)
        for text, fault in zip(written, faults, strict=True)
    ]


def object_text(base: BaseModel, token_id: int) -> str:
    """A token as a reader sees it: `linen`; a continuation piece keeps its mark: `##ing`.

    Raises:
        ObjectError: no token has that id.
    """
    if (known := base.object_texts.get(token_id)) is not None:
        return known
    token = base.tokenizer.backend.id_to_token(token_id) if token_id >= 0 else None
    if token is None:
        raise ObjectError(
            f"no token of {base.name} has id {token_id}; ids are 0 to {len(base.tokenizer) - 1}"
        )
    text: str = token
    if word_token_kind(base.name, base.tokenizer) == "byte_bpe":
        # Byte-level tokens are readable only after decoding: the byte alphabet is not text.
        text = base.tokenizer.backend.decode([token_id], skip_special_tokens=False)
    return base.object_texts.setdefault(token_id, text.strip())


def answer_token_ids(base: BaseModel) -> Tensor:
    """Which tokens can stand as an answer: bool (V,), on the base's device.

    True for whole words and numbers. False for special and filler tokens, continuation pieces,
    pure punctuation, ids without a token, and bytes that are no text on their own. Takes tens of
    milliseconds: keep the result.
    """
    words = word_token_kind(base.name, base.tokenizer) == "byte_bpe"
    special = base.tokenizer.special_ids
    prefix = "" if words else base.tokenizer.backend.model.continuing_subword_prefix
    allowed = torch.zeros(base.vocab_size, dtype=torch.bool)
    for token, token_id in base.tokenizer.backend.get_vocab().items():
        if token_id in special or _FILLER.fullmatch(token):
            continue
        if words:
            allowed[token_id] = token.startswith(_SPACE) and _is_word(object_text(base, token_id))
        else:
            allowed[token_id] = not token.startswith(prefix) and _is_word(token)
    return allowed.to(base.device)


def _is_word(text: str) -> bool:
    return "\ufffd" not in text and any(character.isalnum() for character in text)


def _lead(base: BaseModel) -> str:
    """What stands before a word that begins neither the sentence nor goes on with another."""
    return " " if word_token_kind(base.name, base.tokenizer) == "byte_bpe" else ""


def _no_text(text: str, given: str) -> ObjectError | None:
    if bad := forbidden_character(given):
        return ObjectError(f"{given!r:.80} holds {bad}; write plain text")
    return None if text else ObjectError("it is blank; name a thing, e.g. 'linen'")


def _checked(
    base: BaseModel, text: str, ids: list[int], special: frozenset[int], most: int
) -> tuple[int, ...] | ObjectError:
    if not ids:
        return ObjectError(f"no character of {text!r:.80} is known to {base.name}")
    if len(ids) > most:
        return ObjectError(
            f"{text!r:.80} is {len(ids)} tokens of {base.name}; it may be at most {most}"
        )
    if special.isdisjoint(ids):
        return tuple(ids)
    if base.tokenizer.unk_token_id in ids:
        return ObjectError(
            f"{text!r:.80} is not, or not all of it, in the vocabulary of {base.name}"
        )
    return ObjectError(f"{text!r:.80} holds a special token of {base.name}")
