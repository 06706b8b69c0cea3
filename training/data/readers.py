"""Reads files of facts: every line becomes a fact or is accounted for."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from training.data.delimited import (
    HEADERLESS,
    SplitRow,
    column_parser,
    header_columns,
    parse_conceptnet_row,
    split_csv,
    split_tsv,
)
from training.data.detect import FileFormat, detect_format
from training.data.errors import DataError
from training.data.json_lines import parse_json_row, parse_lama_row
from training.data.rows import BadLine, RowError, RowParser, Skipped, is_unicode, shown
from training.data.source import SourceText, digest_of_parts, read_source
from training.data.triples import FactKey, Triple

Format = Literal["auto", "tsv", "csv", "jsonl", "lama", "conceptnet-100k"]

_DATA_SUFFIXES = frozenset({".tsv", ".csv", ".jsonl", ".json", ".txt"})
_COMPRESSED_SUFFIXES = frozenset({".gz", ".xz"})
_SHOWN_REASONS = 3


@dataclass(frozen=True, slots=True)
class TripleFile:
    """What one file, or one folder of files, of facts held.

    `triples` are distinct facts in the file's order, each in its first spelling. `duplicates`,
    `negatives` (label 0) and `comments` count the lines passed over, `lines` all lines read.
    `digest` is `sha256:` of the file's bytes; of a folder, of its files' names and digests.
    `ignored` names the files of a folder that do not look like data.
    """

    source: str
    format: str
    digest: str
    lines: int
    triples: tuple[Triple, ...]
    bad_lines: tuple[BadLine, ...]
    duplicates: int
    negatives: int = 0
    comments: int = 0
    ignored: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return one paragraph: what was read, what was passed over, the first bad lines."""
        relations = len({triple.relation for triple in self.triples})
        parts = [
            f"{self.source} ({self.format}): {_count(len(self.triples), 'fact')} in "
            f"{_count(relations, 'relation')} from {_count(self.lines, 'line')}"
        ]
        parts += [
            f"{_count(number, name)} passed over"
            for number, name in (
                (self.duplicates, "duplicate"),
                (self.negatives, "negative"),
                (self.comments, "comment"),
            )
            if number
        ]
        if self.ignored:
            parts.append(f"files left alone: {', '.join(self.ignored)}")
        if self.bad_lines:
            parts.append(f"{_count(len(self.bad_lines), 'bad line')}: {_reasons(self.bad_lines)}")
        return "; ".join(parts)


def read_triples(path: Path, *, format: Format = "auto") -> TripleFile:
    """Read the facts of a file, or of the data files directly in a folder.

    Formats: `tsv` and `csv` (a header naming subject, relation and object, or three columns in
    that order), `jsonl` (those fields), `lama` (LAMA's probes), `conceptnet-100k` (relation, head,
    tail and maybe a label). `auto` tells the format of each file from its content and refuses a
    file that fits several. Files may be compressed by gzip or xz. A bad line is reported, with
    its number and reason, and does not stop the reading.

    Raises:
        DataError: no such file, a format in doubt, or no usable fact.
    """
    if format not in get_args(Format):
        raise DataError(f"unknown format {format!r}; known: {', '.join(get_args(Format))}")
    if path.is_dir():
        found = _read_folder(path, format)
    else:
        source = read_source(path)
        found = _collect([source], format, name=source.name, digest=source.digest)
    if not found.triples:
        raise DataError(_nothing_usable(found))
    return found


def _read_folder(folder: Path, format: Format) -> TripleFile:
    files = sorted(
        path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
    )
    data = [path for path in files if _looks_like_data(path)]
    sources = [read_source(path) for path in data]
    return _collect(
        sources,
        format,
        name=folder.resolve().name,
        digest=digest_of_parts((source.name, source.digest) for source in sources),
        ignored=tuple(path.name for path in files if path not in data),
    )


def _looks_like_data(path: Path) -> bool:
    plain = path.with_suffix("") if path.suffix in _COMPRESSED_SUFFIXES else path
    return plain.suffix in _DATA_SUFFIXES


def _collect(
    sources: Sequence[SourceText],
    format: Format,
    *,
    name: str,
    digest: str,
    ignored: tuple[str, ...] = (),
) -> TripleFile:
    triples: dict[FactKey, Triple] = {}
    bad: list[BadLine] = []
    skipped: Counter[Skipped] = Counter()
    facts = 0
    formats: list[str] = []
    for source in sources:
        known, parse, start = _parser_for(source, format)
        if known not in formats:
            formats.append(known)
        for number, line in enumerate(source.lines[start:], start=start + 1):
            if not line.strip():
                continue
            try:
                row = _parsed(line, parse)
            except RowError as error:
                bad.append(BadLine(number, str(error), shown(line), source.name))
                continue
            if isinstance(row, Skipped):
                skipped[row] += 1
                continue
            facts += 1
            triples.setdefault(row.key, row)
    return TripleFile(
        source=name,
        format=", ".join(formats) or "empty",
        digest=digest,
        lines=sum(len(source.lines) for source in sources),
        triples=tuple(triples.values()),
        bad_lines=tuple(bad),
        duplicates=facts - len(triples),
        negatives=skipped[Skipped.NEGATIVE],
        comments=skipped[Skipped.COMMENT],
        ignored=ignored,
    )


def _parsed(line: str, parse: RowParser) -> Triple | Skipped:
    if not is_unicode(line):
        raise RowError("not valid UTF-8")
    return parse(line)


def _parser_for(source: SourceText, format: Format) -> tuple[FileFormat, RowParser, int]:
    """Return the format, its parser, and the index of the first line that is not a header."""
    if not any(line.strip() for line in source.lines):
        return "tsv", parse_json_row, len(source.lines)
    known: FileFormat = detect_format(source.lines, source.name) if format == "auto" else format
    match known:
        case "jsonl":
            return known, parse_json_row, 0
        case "lama":
            return known, parse_lama_row, 0
        case "conceptnet-100k":
            return known, parse_conceptnet_row, 0
        case "tsv":
            return known, *_column_parser(source, split_tsv, comments=True)
        case "csv":
            return known, *_column_parser(source, split_csv, comments=False)


def _column_parser(source: SourceText, split: SplitRow, *, comments: bool) -> tuple[RowParser, int]:
    for index, line in enumerate(source.lines):
        if not line.strip() or (comments and line.startswith("#")):
            continue
        try:
            columns = header_columns(split(line), source.name)
        except RowError:
            columns = None
        if columns is not None:
            return column_parser(split, columns, comments=comments), index + 1
        break
    return column_parser(split, HEADERLESS, comments=comments), 0


def _nothing_usable(found: TripleFile) -> str:
    message = f"{found.source}: no usable fact in {_count(found.lines, 'line')}"
    if found.negatives:
        message += f" ({_count(found.negatives, 'negative')} passed over)"
    if found.ignored:
        message += f"; files left alone: {', '.join(found.ignored)}"
    if found.bad_lines:
        message += f": {_reasons(found.bad_lines)}"
    return message


def _reasons(bad_lines: Sequence[BadLine]) -> str:
    first: Iterable[str] = (str(bad) for bad in bad_lines[:_SHOWN_REASONS])
    more = len(bad_lines) - _SHOWN_REASONS
    return "; ".join(first) + (f"; and {more} more" if more > 0 else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
