"""What a sub-study puts on the page: text, figures, and the same numbers as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.evaluation import Interval


class NotApplicableError(ValueError):
    """A sub-study has nothing to work on; the message says what it would need."""


@dataclass(frozen=True)
class Table:
    """Rows of text under heads; the first cell of a row names it."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing (`training.study.figures`) and what stands under it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """The part of the page about one sub-study.

    Attributes:
        name: of the sub-study, and the part's anchor.
        title: its heading.
        text: paragraphs of plain text.
        figures: drawings.
        tables: the numbers of the drawings, and further ones.
    """

    name: str
    title: str
    text: tuple[str, ...]
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]


def percent(value: float, digits: int = 1) -> str:
    """A share as per cent."""
    return f"{100 * value:.{digits}f}"


def with_interval(interval: Interval, *, scale: float = 1, digits: int = 3) -> str:
    """An estimate with its interval in brackets."""
    estimate, low, high = (
        f"{scale * value:.{digits}f}" for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} [{low}, {high}]"


def square_table(
    caption: str, corner: str, names: Sequence[str], values: Sequence[Sequence[float]]
) -> Table:
    """A table whose rows and columns are the same names."""
    rows = tuple(
        (name, *(f"{value:.3f}" for value in row)) for name, row in zip(names, values, strict=True)
    )
    return Table(caption, (corner, *names), rows)
