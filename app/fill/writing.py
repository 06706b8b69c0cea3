"""Rows to a file: written beside it until all are there, so that what it is named is whole."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from app.fill.answers import Answered
from app.fill.errors import FillError
from app.fill.formats import DELIMITERS, Format, format_of
from app.fill.found import ERROR, check_free, found_fields, found_schema
from app.fill.reading import Reader, Record, parquet_module
from app.schemas.completion import CompletionResponse


class Writer(Protocol):
    """A file of rows with their completions, going on from where an earlier run had kept it."""

    def write(self, rows: Sequence[Answered]) -> None:
        """Add rows, each with its completions or with the error that it has instead."""

    def keep(self) -> int:
        """Make what was written last; the place from which a later run may go on."""

    def finish(self) -> None:
        """Put the file where it belongs."""

    def close(self) -> None:
        """Let go of what is open; what was kept stays."""


def open_writer(path: Path, reader: Reader, top_k: int, kept: int) -> Writer:
    """A writer of a file beside `path`, from the place `kept` on; 0 begins it.

    Raises:
        FillError: the rows have fields that the file would have too, or cannot be had in its
            format.
    """
    kind, columns = format_of(path), reader.columns
    if columns is None and kind != "jsonl":
        raise FillError(
            f"{path.name!r}: rows of JSON lines have no common columns; name an output that "
            "ends in .jsonl"
        )
    if columns is not None and kind in DELIMITERS:
        return _DelimitedWriter(path, kind, columns, top_k, kept)
    check_free(columns or ())
    if columns is None or kind == "jsonl":
        return _JsonLinesWriter(path, kept)
    return _ParquetWriter(path, columns, reader.schema, kept)


def beside(path: Path) -> Path:
    """Where an output stands until it is whole."""
    return path.with_name(f"{path.name}.part")


class _TextWriter:
    """What text formats have in common: one file that grows."""

    def __init__(self, path: Path, kept: int) -> None:
        self._path = path
        if kept and beside(path).stat().st_size < kept:
            raise FillError(
                f"{beside(path).name} is shorter than it was; begin again with --restart"
            )
        self._file = beside(path).open("r+b" if kept else "wb")
        # What an interrupted run wrote after it last said where it was.
        self._file.truncate(kept)
        self._file.seek(kept)

    def keep(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def finish(self) -> None:
        self._file.close()
        beside(self._path).replace(self._path)

    def close(self) -> None:
        self._file.close()


class _DelimitedWriter(_TextWriter):
    """The row's own columns, then object and score of each completion, then the error."""

    def __init__(
        self, path: Path, kind: Format, columns: tuple[str, ...], top_k: int, kept: int
    ) -> None:
        names = [name for k in range(1, top_k + 1) for name in (f"object_{k}", f"score_{k}")]
        check_free(columns, (*names, ERROR))
        super().__init__(path, kept)
        self._kind, self._columns, self._width = kind, columns, len(names)
        if not kept:
            self._add([(*columns, *names, ERROR)])

    def write(self, rows: Sequence[Answered]) -> None:
        self._add(self._cells(*row) for row in rows)

    def _cells(
        self, record: Record, completions: Sequence[CompletionResponse], error: str | None
    ) -> list[object]:
        found: list[object] = [
            cell for one in completions for cell in (one["object"], f"{one['score']:.6g}")
        ]
        empty = [""] * (self._width - len(found))
        return [*(record[name] for name in self._columns), *found, *empty, error or ""]

    def _add(self, rows: Iterable[Sequence[object]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=DELIMITERS[self._kind], lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())


class _JsonLinesWriter(_TextWriter):
    """The row's own fields, then `completions` and `error`."""

    def write(self, rows: Sequence[Answered]) -> None:
        for record, completions, error in rows:
            check_free(record)
            whole = {**record, **found_fields(completions, error)}
            self._file.write(json.dumps(whole, ensure_ascii=False).encode() + b"\n")


class _ParquetWriter:
    """The row's own columns, then `completions` (a list of structs) and `error`.

    A Parquet file cannot be gone on with, so each spell of rows is one of its own until all are
    there; row groups are then copied into one.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], schema: Any, kept: int) -> None:
        self._parquet = parquet_module()
        import pyarrow as arrow  # noqa: PLC0415 - an optional dependency, there by now

        self._arrow: Any = arrow
        self._path, self._folder, self._parts = path, beside(path), kept
        self._rows: list[dict[str, object]] = []
        own = schema or arrow.schema([(name, arrow.string()) for name in columns])
        self._schema = arrow.schema([*own, *found_schema()], metadata=own.metadata)
        if not kept:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(exist_ok=True)
        for part in self._all():
            if int(part.stem) >= kept:
                part.unlink()

    def write(self, rows: Sequence[Answered]) -> None:
        self._rows += [
            {**record, **found_fields(completions, error)} for record, completions, error in rows
        ]

    def keep(self) -> int:
        if self._rows:
            table = self._arrow.Table.from_pylist(self._rows, schema=self._schema)
            self._parquet.write_table(table, self._folder / f"{self._parts:08d}.parquet")
            self._parts += 1
            self._rows = []
        return self._parts

    def finish(self) -> None:
        whole = self._folder / "whole"
        with self._parquet.ParquetWriter(whole, self._schema) as writer:
            for part in self._all():
                writer.write_table(self._parquet.read_table(part, schema=self._schema))
        whole.replace(self._path)
        shutil.rmtree(self._folder)

    def close(self) -> None:
        self._rows = []

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet"))
