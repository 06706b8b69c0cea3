"""Files of rows as a dataset of Ray Data: all of one format, all with the same columns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as arrow

from app.fill.errors import FillError
from app.fill.formats import Format, format_of
from app.fill.reading import Reader, Record, open_reader, parquet_module

if TYPE_CHECKING:
    from ray.data import Dataset

# Rows that say which fields JSON lines have, and of which types.
_LOOKED_AT = 1000
_TABLE_ROWS = 4096
# Of a Parquet file, rows that one task reads, or a few more.
_PIECE_ROWS = 500_000


@dataclass(frozen=True)
class RowFiles:
    """Files of rows.

    Attributes:
        paths: in the order of their rows.
        format: of all of them.
        schema: of all of them, as pyarrow has it.
    """

    paths: tuple[Path, ...]
    format: Format
    schema: Any

    @classmethod
    def at(cls, source: Path) -> "RowFiles":
        """A file, or the files of a folder by their names; each is opened, and none read through.

        Raises:
            FillError: they cannot be read, or are not of one format with the same columns.
        """
        paths = _files(source)
        kind = format_of(paths[0])
        schema = _schema(paths[0])
        for path in paths[1:]:
            if format_of(path) != kind:
                raise FillError(
                    f"{paths[0].name} and {path.name} are of two formats; a folder may have one"
                )
            # Fields of JSON lines may be missing: each row is held against the schema.
            if kind != "jsonl" and not _schema(path).equals(schema):
                raise FillError(
                    f"{paths[0].name} and {path.name} differ in their columns or types; all files "
                    "of a folder must have the same"
                )
        return cls(paths, kind, schema)

    def read(self, ray: Any) -> "Dataset":
        """Their rows, where every machine sees the files at the same paths."""
        # Ray's own readers guess types, and that of Parquet does not always keep the order.
        pieces = [piece for path in self.paths for piece in self._pieces(path)]
        dataset = ray.data.from_items(pieces, override_num_blocks=max(1, len(pieces)))
        read = partial(_tables, schema=self.schema)
        return dataset.map_batches(read, batch_size=1, batch_format="pyarrow")

    def _pieces(self, path: Path) -> Iterator[dict[str, object]]:
        """What one task reads: of Parquet a run of row groups, else a file."""
        if self.format != "parquet":
            yield {"path": str(path), "groups": None}
            return
        with parquet_module().ParquetFile(path) as file:
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        groups: list[int] = []
        for group, size in enumerate(sizes):
            groups.append(group)
            if size and sum(sizes[groups[0] : group + 1]) >= _PIECE_ROWS:
                yield {"path": str(path), "groups": groups}
                groups = []
        if groups:
            yield {"path": str(path), "groups": groups}


def _files(source: Path) -> tuple[Path, ...]:
    if not source.is_dir():
        return (source.absolute(),)
    paths = sorted(path for path in source.iterdir() if path.name[0] not in "._")
    if not paths:
        raise FillError(f"the folder {str(source)!r} holds no files")
    for path in paths:
        if path.is_dir():
            raise FillError(f"{str(path)!r} is a folder; files of rows must lie in {source.name}")
    return tuple(path.absolute() for path in paths)


def _schema(path: Path) -> Any:
    reader = open_reader(path)
    try:
        if reader.schema is not None:
            return reader.schema.remove_metadata()
        if reader.columns is not None:
            return arrow.schema([(name, arrow.string()) for name in reader.columns])
        return _json_schema(path, reader)
    finally:
        reader.close()


def _json_schema(path: Path, reader: Reader) -> Any:
    rows = list(islice(iter(reader), _LOOKED_AT))
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    except arrow.ArrowException as error:
        raise FillError(f"{path.name}: a field has values of two types: {error}") from error
    for field in table.schema:
        if _holds_objects(field.type):
            raise FillError(
                f"{path.name}: field {field.name!r} holds objects; of JSON lines, plain values "
                "and lists of them can be had as Parquet"
            )
    return arrow.schema(
        [
            (field.name, arrow.string() if arrow.types.is_null(field.type) else field.type)
            for field in table.schema
        ]
    )


def _holds_objects(kind: Any) -> bool:
    if arrow.types.is_list(kind):
        return _holds_objects(kind.value_type)
    return bool(arrow.types.is_struct(kind))


def _tables(pieces: Any, *, schema: Any) -> Iterator[Any]:
    """The rows of pieces of files, as tables."""
    for piece in pieces.to_pylist():
        path, groups = Path(piece["path"]), piece["groups"]
        if groups is None:
            yield from _text_tables(path, schema)
            continue
        with parquet_module().ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_TABLE_ROWS, row_groups=groups):
                yield arrow.Table.from_batches([batch])


def _text_tables(path: Path, schema: Any) -> Iterator[Any]:
    reader = open_reader(path)
    try:
        rows, begun = iter(reader), 0
        while chunk := list(islice(rows, _TABLE_ROWS)):
            yield _table(chunk, schema, f"{path.name}, rows from {begun + 1} on")
            begun += len(chunk)
    finally:
        reader.close()


def _table(rows: Sequence[Record], schema: Any, where: str) -> Any:
    strange = _strange(rows, schema.names)
    if strange is not None:
        raise FillError(
            f"{where}: a field {strange!r}, which none of the first {_LOOKED_AT} rows has; have "
            f"one with all fields first, null where it has none"
        )
    try:
        return arrow.Table.from_pylist(rows, schema=schema)
    except (arrow.ArrowException, TypeError) as error:
        raise FillError(f"{where}: values of another type than in the first: {error}") from error


def _strange(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> str | None:
    known = frozenset(names)
    return next((name for row in rows for name in row if name not in known), None)
