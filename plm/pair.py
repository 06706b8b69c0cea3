"""A text, or a context and a choice, as the model reads them: `[CLS] context [SEP] choice [SEP]`.

The layout is the tokenizer's own for pairs (`<s> context </s></s> choice </s>` for RoBERTa).
"""

from dataclasses import dataclass

from plm.base import BaseModel
from plm.errors import PromptError
from plm.rows import EncodedRow
from plm.text import collapse_spaces, forbidden_character


@dataclass(frozen=True)
class EncodedText:
    """Tokens of one text or of two.

    Attributes:
        texts: the texts, one or two, with their spaces collapsed.
        input_ids: all tokens, special ones included.
        parts: positions of each text's tokens, ascending; special tokens belong to none.
        words: for each position the number of its word, counted over both texts; None for special
            tokens.
        second_segment: position of the first token of the second segment, see `EncodedRow`.
    """

    texts: tuple[str, ...]
    input_ids: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    words: tuple[int | None, ...]
    second_segment: int | None

    def masked(self, positions: tuple[int, ...], slot: int, mask_token_id: int) -> EncodedRow:
        """The row with the tokens at these positions masked, asked at one of them."""
        ids = list(self.input_ids)
        for position in positions:
            ids[position] = mask_token_id
        return EncodedRow(tuple(ids), (slot,), self.second_segment)


def check_text(base: BaseModel, text: str, field: str) -> str:
    """The text with its spaces trimmed and collapsed; `field` is what an error calls it.

    Raises:
        PromptError: it is blank, or holds a control character or a special token of the model, or
            no character that the tokenizer knows.
    """
    if bad := forbidden_character(text):
        raise PromptError(field, f"it holds {bad}; write plain text")
    text = collapse_spaces(text)
    if not text:
        raise PromptError(field, "it is blank; write a text, e.g. 'It rained all day.'")
    for token in base.tokenizer.special_tokens:
        if token in text:
            raise PromptError(
                field, f"it holds the model's special token {token}; write plain text"
            )
    if not base.tokenizer.backend.encode(text, add_special_tokens=False).ids:
        raise PromptError(field, "no character of it is known to the model's tokenizer")
    return text


def encode_texts(base: BaseModel, *texts: str, field: str) -> EncodedText:
    """Tokenise one checked text, or a context and a choice as a pair.

    Raises:
        PromptError: they are longer than the model reads, or the base's tokenizer puts nothing
            between two texts; its field is `context` where the context alone is at fault, else
            `field`.
        ValueError: not one or two texts.
    """
    if len(texts) not in (1, 2):
        raise ValueError(f"one text, or a pair, not {len(texts)}")
    encoding = base.tokenizer.backend.encode(texts[0], texts[1] if len(texts) == 2 else None)
    ids: list[int] = encoding.ids
    sequences, words = encoding.sequence_ids, encoding.word_ids
    parts = tuple(
        tuple(place for place, owner in enumerate(sequences) if owner == number)
        for number in range(len(texts))
    )
    _check_length(base, len(ids), parts, field)
    if len(parts) == 2 and parts[0][-1] + 1 == parts[1][0]:
        raise PromptError(
            "context",
            f"the tokenizer of {base.name} puts no special token between two texts; leave the "
            f"context out, or serve a base whose tokenizer lays out pairs",
        )
    # Words are counted from 0 in each text.
    first_words = (word for word, s in zip(words, sequences, strict=True) if s == 0 and word)
    second_words = 1 + max(first_words, default=0)
    types = encoding.type_ids
    return EncodedText(
        texts=texts,
        input_ids=tuple(ids),
        parts=parts,
        words=tuple(
            None if word is None else word + (second_words if owner else 0)
            for word, owner in zip(words, sequences, strict=True)
        ),
        second_segment=types.index(1) if base.has_segments and 1 in types else None,
    )


def _check_length(
    base: BaseModel, length: int, parts: tuple[tuple[int, ...], ...], field: str
) -> None:
    if length <= base.max_length:
        return
    if len(parts) == 2 and length - len(parts[1]) >= base.max_length:
        raise PromptError(
            "context",
            f"it is {len(parts[0])} tokens long, which leaves no room for a choice: {base.name} "
            f"reads at most {base.max_length}, special ones included",
        )
    raise PromptError(
        field,
        f"it is {length} tokens long{' with its context' if len(parts) == 2 else ''}; "
        f"{base.name} reads at most {base.max_length}",
    )
