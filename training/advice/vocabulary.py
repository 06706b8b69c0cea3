"""Objects that are not one token of the base, and one-token words that could stand for them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from plm import (
    BaseModel,
    ObjectError,
    answer_token_ids,
    object_text,
    object_token_id,
    tokenise_objects,
)
from training.data import Triple

SUGGESTIONS = 3

# Far more pieces than a phrase has: every object shows what it is made of.
_MOST_PIECES = 512
_OBJECTS_A_PASS = 256


@dataclass(frozen=True)
class OutsideObject:
    """An object that cannot be asked for with one mask token.

    Attributes:
        object: as its facts spell it.
        facts: how many facts have it.
        pieces: the tokens it is made of; none where the vocabulary does not know it.
        suggestions: one-token words to put in its place, the likeliest first.
    """

    object: str
    facts: int
    pieces: tuple[str, ...]
    suggestions: tuple[str, ...]


def objects_outside(
    base: BaseModel, triples: Iterable[Triple], *, most: int = 1, suggestions: int = SUGGESTIONS
) -> tuple[OutsideObject, ...]:
    """The objects of `triples` of more than `most` tokens, those of most facts first.

    Suggested are the same word spelled otherwise (lower case, capitalised, singular, the last word
    of a phrase), then the whole words whose input embeddings are nearest, by cosine, to the mean
    of the pieces' embeddings.
    """
    counts = Counter(triple.object for triple in triples)
    outside = [text for text in counts if not _can_be_asked(base, text, most)]
    outside.sort(key=lambda text: (-counts[text], text))
    tokens = [
        () if isinstance(found, ObjectError) else found
        for found in tokenise_objects(base, outside, most=_MOST_PIECES)
    ]
    similar = _similar_words(base, tokens, suggestions)
    return tuple(
        OutsideObject(
            object=text,
            facts=counts[text],
            pieces=tuple(object_text(base, token) for token in ids),
            suggestions=_distinct(base, [*_respelled(base, text), *near])[:suggestions],
        )
        for text, ids, near in zip(outside, tokens, similar, strict=True)
    )


def _can_be_asked(base: BaseModel, text: str, most: int) -> bool:
    (found,) = tokenise_objects(base, [text], most=most)
    return not isinstance(found, ObjectError)


def _is_one_token(base: BaseModel, text: str) -> bool:
    try:
        object_token_id(base, text)
    except ObjectError:
        return False
    return True


def _respelled(base: BaseModel, text: str) -> list[str]:
    """The text in other spellings, those that are one token."""
    words = text.split()
    forms = [spelling for word in dict.fromkeys((text, words[-1])) for spelling in _spellings(word)]
    return [form for form in dict.fromkeys(forms) if form != text and _is_one_token(base, form)]


def _distinct(base: BaseModel, words: Sequence[str]) -> tuple[str, ...]:
    """The words in their order, the first spelling of each token: an uncased base knows one."""
    spellings: dict[int, str] = {}
    for word in words:
        spellings.setdefault(object_token_id(base, word), word)
    return tuple(spellings.values())


def _spellings(word: str) -> Iterator[str]:
    for form in (word, word.lower(), word.capitalize()):
        yield form
        yield from _singulars(form)


def _singulars(word: str) -> Iterator[str]:
    """What the word may be the plural of: `berries`, `boxes`, `dogs`."""
    for ending, singular in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) > 1:
            yield stem + singular


def _similar_words(
    base: BaseModel, tokens: Sequence[tuple[int, ...]], count: int
) -> list[list[str]]:
    """For each row of token ids the `count` nearest whole words; none for an empty row."""
    nearest: list[list[str]] = [[] for _ in tokens]
    rows = [row for row, ids in enumerate(tokens) if ids]
    if not rows:
        return nearest
    embeddings: Tensor = base.embeddings.words.float()
    words = functional.normalize(embeddings, dim=1)
    whole = answer_token_ids(base)
    for start in range(0, len(rows), _OBJECTS_A_PASS):
        part = rows[start : start + _OBJECTS_A_PASS]
        means = torch.stack(
            [embeddings[torch.tensor(tokens[row], device=base.device)].mean(dim=0) for row in part]
        )
        scores = functional.normalize(means, dim=1) @ words.t()
        scores[:, ~whole] = -torch.inf
        for line, row in enumerate(part):
            # A piece is nearest to itself, which says nothing.
            scores[line, torch.tensor(tokens[row], device=base.device)] = -torch.inf
        found = scores.topk(min(count, scores.shape[1]), dim=1)
        for row, values, ids in zip(
            part, found.values.tolist(), found.indices.tolist(), strict=True
        ):
            nearest[row] = [
                object_text(base, token)
                for token, value in zip(ids, values, strict=True)
                if value > 0
            ]
    return nearest
