"""Reads a file of facts line by line: every line is a fact, or is told with its reason."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple

from app.errors import StartupError
from plm import collapse_spaces, forbidden_character

Format = Literal["tsv", "csv", "jsonl"]
Split = Callable[[str], list[str]]

FORMATS: dict[str, Format] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_FIELDS = ("subject", "relation", "object")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Fact(NamedTuple):
    """A triple as its file spells it, spaces collapsed."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True)
class BadLine:
    """A line that is no fact.

    Attributes:
        number: counted from 1.
        reason: what is wrong with it.
    """

    number: int
    reason: str


@dataclass(frozen=True, eq=False)
class FactFile:
    """A file of facts, its lines not looked into yet.

    Attributes:
        path: where it is.
        format: how it is written, told by the ending of its name.
        digest: `sha256:<hex>` of its bytes.
        lines: without line ends; bytes that are not UTF-8 stay as surrogates.
    """

    path: Path
    format: Format
    digest: str
    lines: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> "FactFile":
        """Read the bytes.

        Raises:
            StartupError: its name has another ending, it cannot be read, or it is no UTF-8 text.
        """
        format = FORMATS.get(path.suffix.lower())
        if format is None:
            raise StartupError(
                f"knowledge base {path} ends in {path.suffix or 'nothing'!r}; right are "
                f"{', '.join(FORMATS)}"
            )
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StartupError(
                f"knowledge base {path} cannot be read: {error.strerror or error}"
            ) from error
        text = content.removeprefix(_BYTE_ORDER_MARK)
        if text.startswith(_UTF_16_MARKS) or b"\0" in text[:4096]:
            raise StartupError(f"knowledge base {path} is no UTF-8 text; save it as UTF-8")
        # Only "\n" ends a line: str.splitlines would cut at U+2028 inside a field too.
        lines = text.decode("utf-8", "surrogateescape").split("\n")
        return cls(
            path,
            format,
            f"sha256:{sha256(content).hexdigest()}",
            tuple(line.removesuffix("\r") for line in lines),
        )


def read_facts(file: FactFile) -> Iterator[Fact | BadLine]:
    """The facts of a file and its bad lines, in order; blank lines are passed over.

    `tsv` and `csv` hold the columns subject, relation and object, in that order or as a header
    names them (then among others, if there are). A `tsv` line that begins with `#` is a comment.
    A quoted field of `csv` ends on its line. `jsonl` holds one object with those fields a line;
    others are not looked at.

    Raises:
        StartupError: the first line names some of the columns, but not all.
    """
    match file.format:
        case "tsv":
            yield from _columns(file, _split_tsv, comments=True)
        case "csv":
            yield from _columns(file, _split_csv, comments=False)
        case "jsonl":
            yield from _each(file.lines, 0, _from_json)


class _LineError(ValueError):
    """Why a line is no fact."""


def _columns(file: FactFile, split: Split, *, comments: bool) -> Iterator[Fact | BadLine]:
    lines = ["" if comments and line.startswith("#") else line for line in file.lines]
    first = next((index for index, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    places, width = _header(lines[first], split, file.path)
    start = 0 if places is None else first + 1
    subject, relation, object_ = places or (0, 1, 2)

    def parse(line: str) -> Fact:
        cells = split(line)
        if len(cells) != width:
            columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
            raise _LineError(f"it has {columns} where {width} belong")
        return _fact(cells[subject], cells[relation], cells[object_])

    yield from _each(lines, start, parse)


def _each(
    lines: Sequence[str], start: int, parse: Callable[[str], Fact]
) -> Iterator[Fact | BadLine]:
    for index in range(start, len(lines)):
        line = lines[index]
        if not line.strip():
            continue
        try:
            yield parse(line)
        except _LineError as error:
            yield BadLine(index + 1, str(error))


def _header(line: str, split: Split, path: Path) -> tuple[tuple[int, int, int] | None, int]:
    """Where the columns are, and how many there are; None: the line is a fact already."""
    try:
        cells = [cell.strip().lower() for cell in split(line)]
    except _LineError:
        return None, len(_FIELDS)
    named = [field for field in _FIELDS if field in cells]
    if len(named) < 2:
        return None, len(_FIELDS)
    if len(named) < len(_FIELDS) or any(cells.count(field) > 1 for field in _FIELDS):
        raise StartupError(
            f"knowledge base {path} begins with a header that does not name subject, relation and "
            f"object once each: {line!r:.160}"
        )
    subject, relation, object_ = (cells.index(field) for field in _FIELDS)
    return (subject, relation, object_), len(cells)


def _split_tsv(line: str) -> list[str]:
    return line.split("\t")


def _split_csv(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise _LineError(f"it is no CSV on its own: {error}") from error


def _from_json(line: str) -> Fact:
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _LineError(f"it is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise _LineError("it is no JSON object")
    for field in _FIELDS:
        if field not in record:
            raise _LineError(f"the field {field!r} is missing")
        if not isinstance(record[field], str):
            raise _LineError(f"the {field} is no string")
    return _fact(record["subject"], record["relation"], record["object"])


def _fact(subject: str, relation: str, object_: str) -> Fact:
    fact = Fact(collapse_spaces(subject), collapse_spaces(relation), collapse_spaces(object_))
    for field, given, text in zip(_FIELDS, (subject, relation, object_), fact, strict=True):
        if not text:
            raise _LineError(f"the {field} is blank")
        if bad := forbidden_character(given):
            # Bytes that are no UTF-8 were read as surrogates.
            raise _LineError(f"the {field} holds {bad}, or is no UTF-8")
    return fact
