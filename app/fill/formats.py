"""Which format a file has, told by its name."""

from pathlib import Path
from typing import Literal

from app.fill.errors import FillError

Format = Literal["csv", "tsv", "jsonl", "parquet"]
_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
DELIMITERS = {"csv": ",", "tsv": "\t"}


def format_of(path: Path) -> Format:
    """The format that a file's name ends in.

    Raises:
        FillError: it is none that can be read and written.
    """
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise FillError(f"{path.name!r} must end in {', '.join(_SUFFIXES)}") from None
