"""Facts in columns: tab-separated, comma-separated (RFC 4180), and ConceptNet-100K's files."""

import csv
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from training.data.errors import DataError
from training.data.rows import RowError, RowParser, Skipped, triple_of
from training.data.triples import Triple

SplitRow = Callable[[str], list[str]]

COLUMN_NAMES = {
    "subject": ("subject", "subj", "sub", "s", "head", "h", "sub_label"),
    "relation": ("relation", "rel", "r", "predicate", "pred", "p", "predicate_id"),
    "object": ("object", "obj", "o", "tail", "t", "obj_label"),
}
_ROLE_OF = {name: role for role, names in COLUMN_NAMES.items() for name in names}

# RFC 4180 on one line: a field is quoted whole, quotes inside it doubled, or has no quote at all.
_CSV_FIELD = r' *(?:"(?:[^"]|"")*"|[^",]*)'
_CSV_LINE = re.compile(rf"{_CSV_FIELD}(?:,{_CSV_FIELD})*")


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each field stands (from 0) in rows of `width` columns."""

    subject: int
    relation: int
    object: int
    width: int


HEADERLESS = Columns(subject=0, relation=1, object=2, width=3)


def split_tsv(text: str) -> list[str]:
    """Return the fields of a tab-separated line; quotes are ordinary characters."""
    return text.split("\t")


def split_csv(text: str) -> list[str]:
    """Return the fields of a comma-separated line.

    Lines are parsed one by one: a stray quote then costs its own line, where a parser that lets a
    quoted field run over line ends would swallow facts up to the next quote.

    Raises:
        RowError: the line is not RFC 4180 on its own.
    """
    if not _CSV_LINE.fullmatch(text):
        raise RowError(
            'a quote is not closed on its line or stands inside an unquoted field (write "" '
            "inside a quoted field)"
        )
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise RowError(f"not valid CSV: {error}") from error


def header_columns(cells: Sequence[str], name: str) -> Columns | None:
    """Return the columns that a first row names, or None if it is a fact and not a header.

    Raises:
        DataError: it names some of the three fields but not each once.
    """
    found: dict[str, list[int]] = {role: [] for role in COLUMN_NAMES}
    for index, cell in enumerate(cells):
        role = _ROLE_OF.get(cell.strip().casefold())
        if role is not None:
            found[role].append(index)
    named = [role for role, indices in found.items() if indices]
    if len(named) < 2:
        return None
    if len(named) == 2 or any(len(indices) > 1 for indices in found.values()):
        known = "; ".join(f"{role}: {', '.join(names)}" for role, names in COLUMN_NAMES.items())
        raise DataError(
            f"{name}: the first line {list(cells)} looks like a header, but does not name "
            f"subject, relation and object once each (names known: {known}); if it is a fact, "
            "put a header above it"
        )
    return Columns(
        subject=found["subject"][0],
        relation=found["relation"][0],
        object=found["object"][0],
        width=len(cells),
    )


def column_parser(split: SplitRow, columns: Columns, *, comments: bool) -> RowParser:
    """Return a parser of rows laid out as `columns`; `comments`: lines from `#` are passed over."""

    def parse(text: str) -> Triple | Skipped:
        if comments and text.startswith("#"):
            return Skipped.COMMENT
        cells = split(text)
        if len(cells) != columns.width:
            raise RowError(f"{_columns(len(cells))} where {columns.width} belong")
        return triple_of(cells[columns.subject], cells[columns.relation], cells[columns.object])

    return parse


def parse_conceptnet_row(text: str) -> Triple | Skipped:
    """Parse `relation<TAB>head<TAB>tail[<TAB>label]`; a label of 0 marks a negative example.

    The files of Li et al. (2016), "Commonsense Knowledge Base Completion": the label is 0 or 1 in
    the development and test files, and a confidence above 0 in the training files.

    Raises:
        RowError: wrong number of columns, an empty field, or a label that is not a number >= 0.
    """
    cells = split_tsv(text)
    if len(cells) not in (3, 4):
        raise RowError(
            f"{_columns(len(cells))} where 3 or 4 belong (relation, head, tail, and maybe a label)"
        )
    triple = triple_of(subject=cells[1], relation=cells[0], object_=cells[2])
    if len(cells) == 4 and _label(cells[3]) == 0:
        return Skipped.NEGATIVE
    return triple


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _label(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise RowError(f"the label {text!r} is not a number of 0 or more")
    return value
