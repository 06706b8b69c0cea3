"""Plain text: folders of `.txt`, `.txt.xz` and `.txt.gz` files, a few sentences a line."""

import gzip
import hashlib
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from training.data import DataError

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]?\s+(?=[\"'(]?[A-Z])")
_SUFFIX = re.compile(r"\.txt(\.xz|\.gz)?$")


def text_files(path: Path) -> list[Path]:
    """The text files of a folder, by name; or the file itself.

    Raises:
        DataError: neither is there, or there is nothing to read in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} is not there; text is a folder of .txt files, or one such file")
    found = sorted(file for file in path.iterdir() if _SUFFIX.search(file.name))
    if not found:
        raise DataError(f"{path} holds no .txt, .txt.xz or .txt.gz file")
    return found


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a text file, trimmed; blank ones too.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        with _open(path) as lines:
            for line in lines:
                yield line.strip()
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error


def sentences_of(line: str) -> list[str]:
    """The sentences of a line."""
    return [part for part in _SENTENCE_END.split(line) if part]


def digest_of_files(files: list[Path]) -> str:
    """`sha256:<hex>` of the files' bytes, in order."""
    state = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256:{state.hexdigest()}"


def _open(path: Path) -> IO[str]:
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")
