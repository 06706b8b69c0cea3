"""Words that a client names and that must be one token of the base each."""

from collections.abc import Sequence
from functools import lru_cache

from app.errors import FieldFault, WordError
from app.features.feature import Path
from plm import BaseModel, ObjectError, object_token_id

# Words whose tokens are remembered: tokenising one takes longer than looking it up.
_REMEMBERED = 2**16


class Words:
    """Looks up the tokens of words; safe to call from several threads."""

    def __init__(self, base: BaseModel) -> None:
        self._base = base
        self._token_of = lru_cache(maxsize=_REMEMBERED)(self._tokenise)

    def tokens(self, field: str, words: Sequence[str], path: Path = ()) -> tuple[int, ...]:
        """The token of each word; `field` is where they are named.

        Raises:
            WordError: words are not one token; the error names all of them.
        """
        tokens: list[int] = []
        faults: list[FieldFault] = []
        for index, word in enumerate(words):
            try:
                tokens.append(self._token_of(word))
            except ObjectError as error:
                faults.append(FieldFault((*path, field, index), str(error)))
        if faults:
            raise WordError(tuple(faults))
        return tuple(tokens)

    def distinct(self, field: str, words: Sequence[str], path: Path = ()) -> tuple[int, ...]:
        """The same, for words that may be named once each.

        Raises:
            WordError: words are not one token, or two are the same one.
        """
        tokens = self.tokens(field, words, path)
        first: dict[int, str] = {}
        for index, (word, token) in enumerate(zip(words, tokens, strict=True)):
            if token in first:
                detail = f"{word!r} is the same token as {first[token]!r}; name each target once"
                raise WordError((FieldFault((*path, field, index), detail),))
            first[token] = word
        return tokens

    def _tokenise(self, word: str) -> int:
        return object_token_id(self._base, word)
