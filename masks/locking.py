"""One writer of a pack at a time, over threads and processes.

The lock is one of the operating system on a file in the pack's folder, so that it ends with its
holder, however that ends; the file goes with it. Windows has no such lock: there, whoever writes
a pack must be alone.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".lock"

_POLL_SECONDS = 0.01


@contextmanager
def lock_pack(folder: Path, *, timeout: float | None = None) -> Iterator[None]:
    """Be the only writer of a folder; wait for another one, at most `timeout` seconds.

    Not reentrant: a thread that holds the lock and asks again waits for itself.

    Raises:
        TimeoutError: another writer was not done in time.
        OSError: the folder does not exist or cannot be written.
    """
    path = folder / LOCK_NAME
    descriptor = _acquire(path, timeout)
    try:
        yield
    finally:
        # While it is locked: whoever waits for it sees that it is gone, and makes a new one.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_being_written(folder: Path) -> bool:
    """Whether somebody holds the lock of the folder now; needs no right to write there."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try(descriptor, exclusive=False)
    finally:
        os.close(descriptor)


def _acquire(path: Path, timeout: float | None) -> int:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not _try(descriptor, exclusive=True):
                if deadline is not None and time.monotonic() > deadline:
                    raise TimeoutError(f"{path.parent} is being written by another process")
                time.sleep(_POLL_SECONDS)
            if _is_file(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # The holder before removed it while this one waited.
        os.close(descriptor)


def _try(descriptor: int, *, exclusive: bool) -> bool:
    if sys.platform == "win32":
        return True
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
