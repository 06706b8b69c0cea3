"""Sets of candidates: the vocabulary's words, a client's list, or a knowledge base's entities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from app.knowledge import KnowledgeBase, Role
from plm import (
    MAX_OBJECT_TOKENS,
    BaseModel,
    Candidates,
    ObjectError,
    answer_token_ids,
    fold_text,
    object_text,
    tokenise_objects,
)

# Lists that are remembered as tokens; many queries often rank the same one.
_REMEMBERED_LISTS = 32
# Sets of knowledge bases: some hundred relations, from either end.
_REMEMBERED_ENDS = 1024
# Single texts, as knowledge bases and truths name them.
_REMEMBERED_TEXTS = 2**16


@dataclass(frozen=True, eq=False)
class CandidateSet:
    """Candidates, N of them, no two of the same tokens.

    Attributes:
        texts: as they are shown.
        objects: their tokens.
        left_out: how many more there were that the base cannot be asked for.
    """

    texts: tuple[str, ...]
    objects: tuple[tuple[int, ...], ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def tokens(self) -> Candidates:
        """Their tokens, as the model is asked for them."""
        return Candidates.of(self.objects)

    def find(self, text: str, tokens: tuple[int, ...] | None) -> tuple[int, ...]:
        """Places of the candidates that a text means, the best fit first; none if there is none.

        It means those of its tokens, and those that fold to the same text (`fold_text`).
        """
        by_text = self._by_text.get(fold_text(text), ())
        by_tokens = None if tokens is None else self._by_tokens.get(tokens)
        return by_text if by_tokens is None else tuple(dict.fromkeys((by_tokens, *by_text)))

    @cached_property
    def _by_tokens(self) -> dict[tuple[int, ...], int]:
        return {tokens: place for place, tokens in enumerate(self.objects)}

    @cached_property
    def _by_text(self) -> dict[str, tuple[int, ...]]:
        places: dict[str, tuple[int, ...]] = {}
        for place, text in enumerate(self.texts):
            folded = fold_text(text)
            places[folded] = (*places.get(folded, ()), place)
        return places


@dataclass(frozen=True)
class Unusable:
    """A text of a list that is no candidate.

    Attributes:
        index: its place in the list.
        reason: why.
    """

    index: int
    reason: str


class CandidateSets:
    """Makes and remembers candidate sets of a base; safe to call from several threads."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self.given = lru_cache(maxsize=_REMEMBERED_LISTS)(self._given)
        self.known = lru_cache(maxsize=_REMEMBERED_ENDS)(self._known)
        self.tokens_of = lru_cache(maxsize=_REMEMBERED_TEXTS)(self._tokens_of)

    @cached_property
    def vocabulary(self) -> CandidateSet:
        """The vocabulary's whole words, in order of token id: what `TopTokens.words` ranks."""
        ids = answer_token_ids(self._base).nonzero()[:, 0].tolist()
        texts = tuple(object_text(self._base, token) for token in ids)
        return CandidateSet(texts, tuple((token,) for token in ids))

    def _given(self, texts: tuple[str, ...]) -> CandidateSet | tuple[Unusable, ...]:
        """A client's list, every text of which must be usable and of its own tokens."""
        unusable: list[Unusable] = []
        first: dict[tuple[int, ...], int] = {}
        objects = tokenise_objects(self._base, texts, most=MAX_OBJECT_TOKENS)
        for index, tokens in enumerate(objects):
            if isinstance(tokens, ObjectError):
                unusable.append(Unusable(index, str(tokens)))
            elif (other := first.setdefault(tokens, index)) != index:
                reason = (
                    f"{texts[index]!r:.80} is the same tokens as {texts[other]!r:.80}; name each "
                    f"candidate once"
                )
                unusable.append(Unusable(index, reason))
        if unusable:
            return tuple(unusable)
        return CandidateSet(texts, tuple(first))

    def _known(
        self, base: KnowledgeBase, relations: tuple[str, ...], role: Role
    ) -> CandidateSet | None:
        """The entities that a knowledge base has in a role of any of the relations.

        Without relations they are all its entities. What the base cannot be asked for is left out
        and counted; None: nothing is left, or there is nothing.
        """
        texts: Iterable[str] = base.entities
        if relations:
            texts = dict.fromkeys(
                text for relation in relations for text in base.entities_of(relation, role)
            )
        return _usable(self._base, tuple(texts))

    def _tokens_of(self, text: str) -> tuple[int, ...] | None:
        """The tokens of one text; None: the base cannot be asked for it."""
        (tokens,) = tokenise_objects(self._base, [text], most=MAX_OBJECT_TOKENS)
        return None if isinstance(tokens, ObjectError) else tokens


def _usable(base: BaseModel, texts: Sequence[str]) -> CandidateSet | None:
    first: dict[tuple[int, ...], str] = {}
    left_out = 0
    for text, tokens in zip(
        texts, tokenise_objects(base, texts, most=MAX_OBJECT_TOKENS), strict=True
    ):
        if isinstance(tokens, ObjectError):
            left_out += 1
        else:
            # Spellings that the tokenizer does not tell apart are one candidate.
            first.setdefault(tokens, text)
    return CandidateSet(tuple(first.values()), tuple(first), left_out) if first else None
