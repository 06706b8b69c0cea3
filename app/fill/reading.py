"""Rows of a file, one after the other: CSV, TSV, JSON lines, Parquet."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from app.fill.errors import FillError
from app.fill.formats import DELIMITERS, Format, format_of

Record = Mapping[str, object]

_BATCH_ROWS = 1024


class Reader(Protocol):
    """The rows of a file, to be read once.

    Attributes:
        columns: names of the fields that every row has; None where each row has its own.
        schema: of a Parquet file, as pyarrow has it; None for all others.
    """

    columns: tuple[str, ...] | None
    schema: Any

    def __iter__(self) -> Iterator[Record]:
        """Each row.

        Raises:
            FillError: a row cannot be read; the message says which and why.
        """

    @property
    def share(self) -> float:
        """How much of the file has been read, 0 to 1."""

    def close(self) -> None:
        """Let go of the file."""


def open_reader(path: Path) -> Reader:
    """Open a file of rows.

    Raises:
        FillError: there is no such file, it has no header, or it is of no known format.
    """
    kind = format_of(path)
    if not path.is_file():
        raise FillError(f"there is no file {str(path)!r}")
    if kind == "parquet":
        return _ParquetReader(path)
    return _JsonLinesReader(path) if kind == "jsonl" else _DelimitedReader(path, kind)


class _TextReader:
    """What text formats have in common: bytes read tell how far a file is."""

    columns: tuple[str, ...] | None = None
    schema: Any = None

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._size = path.stat().st_size
        self._raw: BinaryIO = path.open("rb")
        # Spreadsheets put a mark before UTF-8.
        self._text = io.TextIOWrapper(self._raw, encoding="utf-8-sig", newline="")

    @property
    def share(self) -> float:
        return self._raw.tell() / self._size if self._size else 1.0

    def close(self) -> None:
        self._text.close()

    def _not_utf8(self, error: UnicodeDecodeError) -> FillError:
        return FillError(f"{self._name}: it is not UTF-8 ({error.reason}); save it as UTF-8")


class _DelimitedReader(_TextReader):
    """Rows under a header (RFC 4180); quoted fields may run over line ends."""

    def __init__(self, path: Path, kind: Format) -> None:
        super().__init__(path)
        self._rows = csv.reader(self._text, delimiter=DELIMITERS[kind], strict=True)
        try:
            header = next(self._rows, [])
        except csv.Error as error:
            raise FillError(f"{self._name}: the header cannot be read: {error}") from error
        except UnicodeDecodeError as error:
            raise self._not_utf8(error) from error
        if not any(name.strip() for name in header):
            raise FillError(f"{self._name}: the first line must name the columns")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise FillError(f"{self._name}: column {twice[0]!r} is named twice; name each once")
        self.columns = tuple(header)

    def __iter__(self) -> Iterator[Record]:
        assert self.columns is not None
        width = len(self.columns)
        try:
            for row in self._rows:
                if not row:
                    continue
                if len(row) != width:
                    raise FillError(
                        f"{self._name}, line {self._rows.line_num}: {len(row)} fields where the "
                        f"header names {width}; quote a field that holds the separator"
                    )
                yield dict(zip(self.columns, row, strict=True))
        except csv.Error as error:
            raise FillError(f"{self._name}, line {self._rows.line_num}: {error}") from error
        except UnicodeDecodeError as error:
            raise self._not_utf8(error) from error


class _JsonLinesReader(_TextReader):
    """An object on each line; blank lines are passed over."""

    def __iter__(self) -> Iterator[Record]:
        try:
            for number, line in enumerate(self._text, start=1):
                if line.strip():
                    yield self._record(line, number)
        except UnicodeDecodeError as error:
            raise self._not_utf8(error) from error

    def _record(self, line: str, number: int) -> Record:
        try:
            record: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FillError(f"{self._name}, line {number}: it is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise FillError(
                f"{self._name}, line {number}: an object belongs there, not {type(record).__name__}"
            )
        return record


class _ParquetReader:
    """The rows of a Parquet file, a row group's part at a time."""

    def __init__(self, path: Path) -> None:
        parquet = parquet_module()
        try:
            self._file: Any = parquet.ParquetFile(path)
        except Exception as error:  # pyarrow has errors of its own for every kind of damage
            raise FillError(f"{path.name} is no Parquet file: {error}") from error
        self.schema: Any = self._file.schema_arrow
        self.columns: tuple[str, ...] | None = tuple(self.schema.names)
        self._rows = self._file.metadata.num_rows
        self._read = 0

    def __iter__(self) -> Iterator[Record]:
        for batch in self._file.iter_batches(batch_size=_BATCH_ROWS):
            for record in batch.to_pylist():
                self._read += 1
                yield record

    @property
    def share(self) -> float:
        return self._read / self._rows if self._rows else 1.0

    def close(self) -> None:
        self._file.close()


def parquet_module() -> Any:
    """pyarrow's Parquet, which is installed on request only.

    Raises:
        FillError: it is not installed.
    """
    try:
        from pyarrow import parquet  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise FillError("Parquet needs pyarrow: pip install 'relata[parquet]'") from None
    return parquet
