"""Bytes of a data file as lines of text, with the digest that names the file afterwards."""

import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.data.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_XZ_MAGIC = b"\xfd7zXZ\x00"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class SourceText:
    """The lines of one file, without line ends; bytes that are not UTF-8 stay as surrogates.

    `digest` is `sha256:` of the file as it is stored (compressed, if it is).
    """

    name: str
    digest: str
    lines: tuple[str, ...]


def read_source(path: Path) -> SourceText:
    """Read a text file, plain or compressed by gzip or xz (told by content, not by name).

    Raises:
        DataError: there is no such file, its compression is damaged, or it is not UTF-8 text.
    """
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    content = _decompressed(stored, path.name).removeprefix(_BYTE_ORDER_MARK)
    if content.startswith(_UTF_16_MARKS) or b"\0" in content[:4096]:
        raise DataError(
            f"{path.name}: not UTF-8 text (UTF-16 or a binary file); save it as UTF-8 text"
        )
    # Only "\n" ends a line: str.splitlines would also cut at U+2028 inside a field. Bad bytes
    # become surrogates, so that one bad line can be reported without losing its neighbours.
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    if lines[-1] == "":
        lines.pop()
    return SourceText(
        name=path.name,
        digest=digest_of(stored),
        lines=tuple(line.removesuffix("\r") for line in lines),
    )


def digest_of(content: bytes) -> str:
    """Return `sha256:` and the hexadecimal digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_of_parts(parts: Iterable[tuple[str, str]]) -> str:
    """Return the digest of several files as (name, digest) pairs, whatever their order."""
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(parts))
    return digest_of(listing.encode("utf-8", "surrogateescape"))


def _decompressed(stored: bytes, name: str) -> bytes:
    try:
        if stored.startswith(_GZIP_MAGIC):
            return gzip.decompress(stored)
        if stored.startswith(_XZ_MAGIC):
            return lzma.decompress(stored)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{name}: damaged compressed file ({error})") from error
    return stored
