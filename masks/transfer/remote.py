"""The seam: what a place must be able to do for packs to come from it and go to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from masks.manifest import MANIFEST_NAME
from masks.store import MaskPack
from masks.transfer.errors import TransferError

# What may lie in a pack beside manifest and masks, and travels with them.
DOCUMENTS = ("report.md", "report.json", "README.md")

# Far more than real ones have; they bound what a broken or hostile place can make us take.
MASK_LIMIT = 256 * 2**20
TEXT_LIMIT = 16 * 2**20

_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Delivery:
    """Where a pack lies now.

    Attributes:
        place: as a later pull can name it.
        already_there: the same pack lay there before, and nothing was written.
    """

    place: str
    already_there: bool = False


class Remote(Protocol):
    """A place for one pack; `str()` of it names the place in messages, without secrets."""

    def read(self, name: str, limit: int) -> Iterator[bytes]:
        """The bytes of a file in pieces.

        Raises:
            FileMissingError: there is no such file.
            TransferError: it cannot be read, or is longer than `limit` bytes.
        """
        ...

    def send(self, pack: MaskPack, *, replace: bool) -> Delivery:
        """Put a pack that was verified there; another one there is replaced if `replace`.

        Raises:
            TransferError: another pack is there and is not to be replaced, or the place cannot
                be written.
            MaskFileError: the pack changed since it was verified.
        """
        ...


def pack_files(pack: MaskPack) -> tuple[str, ...]:
    """Names of the files of a pack that travel; the manifest is the last."""
    documents = [name for name in DOCUMENTS if (pack.folder / name).is_file()]
    masks = [pack.manifest.entries[relation].file for relation in pack.relations]
    return (*masks, *documents, MANIFEST_NAME)


def bounded(chunks: Iterator[bytes], source: str, limit: int) -> Iterator[bytes]:
    """The same pieces, up to `limit` bytes in all.

    Raises:
        TransferError: there are more.
    """
    taken = 0
    for chunk in chunks:
        taken += len(chunk)
        if taken > limit:
            raise too_long(source, limit)
        yield chunk


def too_long(source: str, limit: int) -> TransferError:
    """The error of a file that is longer than it may be."""
    return TransferError(f"{source}: it has more than {limit:,} bytes, which is the most it may")


def read_file(file: BinaryIO) -> Iterator[bytes]:
    """An open file in pieces."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def read_path(path: Path) -> Iterator[bytes]:
    """A file of this machine in pieces; raises OSError."""
    with path.open("rb") as file:
        yield from read_file(file)


def why(error: Exception) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
