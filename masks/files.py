"""Whole files: read at once, written so that no reader sees half of one."""

import os
from pathlib import Path
from uuid import uuid4

from masks.errors import MaskFileError


def read_whole(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        MaskFileError: it does not exist or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise MaskFileError(str(path), "there is no such file") from error
    except OSError as error:
        raise MaskFileError(str(path), f"it cannot be read ({error.strerror})") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file by `data` in one step; the old one stays if anything fails before.

    Raises:
        OSError: the folder does not exist or cannot be written.
    """
    # Beside the target, as os.replace is atomic within one file system only; opened by hand, as
    # tempfile would leave the file readable by its owner alone.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
