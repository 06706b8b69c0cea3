"""What the parser of one line may answer: a fact, a line passed over on purpose, or a reason."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from plm import collapse_spaces
from training.data.triples import Triple

_SHOWN_CHARACTERS = 160


class Skipped(Enum):
    """A line that is well formed but is not a fact to learn from."""

    NEGATIVE = "negative"
    COMMENT = "comment"


class RowError(ValueError):
    """Why one line is not a fact. It never leaves the reader, which turns it into a `BadLine`."""


RowParser = Callable[[str], Triple | Skipped]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read: its number (from 1), why, and its start; `source` = file."""

    number: int
    reason: str
    text: str
    source: str

    def __str__(self) -> str:
        return f"{self.source} line {self.number}: {self.reason}"


def shown(text: str) -> str:
    """Return the start of `text` in a form that can be printed and encoded anywhere."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


def is_unicode(text: str) -> bool:
    """Return whether `text` has no lone surrogate, and so can be written as UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def triple_of(subject: object, relation: object, object_: object) -> Triple:
    """Return the triple of three parsed fields, whitespace-folded.

    Raises:
        RowError: a field is not a string, is blank, or is not valid Unicode.
    """
    return Triple(
        _text_of("subject", subject), _text_of("relation", relation), _text_of("object", object_)
    )


def _text_of(role: str, value: object) -> str:
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise RowError(f"the {role} must be a string, not {kind}")
    if not is_unicode(value):
        raise RowError(f"the {role} holds a lone surrogate, which is no character")
    if "\0" in value:
        raise RowError(f"the {role} holds a NUL character")
    folded = collapse_spaces(value)
    if not folded:
        raise RowError(f"the {role} is empty")
    return folded
