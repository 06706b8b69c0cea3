"""A base's tokenizer: the tokenizers library's own, and which of its tokens are special."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer as Backend

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# They add nothing to what stands in `tokenizer.json`.
_PLAIN_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A fast tokenizer that neither cuts nor pads.

    Attributes:
        backend: turns text into tokens.
        special_tokens: texts of all special tokens.
        mask_token: text of the mask token, None without one.
        pad_token: text of the padding token, None without one.
        unk_token: text of the token for what is unknown, None without one.
        max_length: tokens that it is made for.
    """

    backend: Backend
    special_tokens: tuple[str, ...]
    mask_token: str | None
    pad_token: str | None
    unk_token: str | None
    max_length: int

    @classmethod
    def of_fast(cls, tokenizer: "PreTrainedTokenizerFast") -> "Tokenizer":
        """What transformers made of a tokenizer's files."""
        return cls(
            backend=_untouched(tokenizer.backend_tokenizer),
            special_tokens=tuple(tokenizer.all_special_tokens),
            mask_token=tokenizer.mask_token,
            pad_token=tokenizer.pad_token,
            unk_token=tokenizer.unk_token,
            max_length=int(tokenizer.model_max_length),
        )

    def __len__(self) -> int:
        """How many tokens there are, those that were added included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the special tokens."""
        ids = (self.id_of(token) for token in self.special_tokens)
        return frozenset(number for number in ids if number is not None)

    @cached_property
    def unk_token_id(self) -> int | None:
        """Id of the token for what is unknown."""
        return self.id_of(self.unk_token)

    def id_of(self, token: str | None) -> int | None:
        """The id of a token, None where there is none."""
        return None if token is None else self.backend.token_to_id(token)

    def tokens_of(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids, as the vocabulary writes them.

        Raises:
            KeyError: no token has one of them.
        """
        tokens = []
        for number in ids:
            if (token := self.backend.id_to_token(number)) is None:
                raise KeyError(number)
            tokens.append(token)
        return tokens


def stored_tokenizer(folder: Path, *, of_any_class: bool = False) -> Tokenizer | None:
    """The tokenizer of a folder's `tokenizer.json` and `tokenizer_config.json` as they stand.

    None where transformers must be asked: a file is missing or broken, or (unless `of_any_class`)
    the tokenizer has a class of its own, which may make something else of these files.
    """
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        if not of_any_class and settings["tokenizer_class"] not in _PLAIN_CLASSES:
            return None
        names = {role: _token(settings, f"{role}_token") for role in _ROLES}
        max_length = int(settings["model_max_length"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    try:
        backend = Backend.from_file(str(folder / "tokenizer.json"))
    except Exception:
        return None
    return Tokenizer(
        backend=_untouched(backend),
        special_tokens=tuple(dict.fromkeys(name for name in names.values() if name)),
        mask_token=names["mask"],
        pad_token=names["pad"],
        unk_token=names["unk"],
        max_length=max_length,
    )


def _token(settings: Mapping[str, Any], key: str) -> str | None:
    """A token of `tokenizer_config.json`: its text, or a description that has it."""
    value = settings.get(key)
    if isinstance(value, Mapping):
        value = value["content"]
    return None if value is None else str(value)


def _untouched(backend: Backend) -> Backend:
    """The backend without what it may have been told to do with long and short texts."""
    backend.no_truncation()
    backend.no_padding()
    return backend
