"""The state of learning in a file, so that a run that is ended goes on bit for bit."""

import time
from pathlib import Path
from typing import Any

import torch

# Writing takes at most this share of the time, and happens no more often than so many seconds.
_SHARE = 0.05
_SECONDS = 60.0


class Checkpoint:
    """A file with the state of what is being learned.

    Args:
        path: the file; it need not be there.
        key: what is learned, from what and how. The state of anything else is not taken up.
        seconds: least time between two writings.
    """

    def __init__(self, path: Path, key: str, *, seconds: float = _SECONDS) -> None:
        self._path, self._key, self._pause = path, key, seconds
        self._last = time.monotonic()

    def load(self) -> Any:
        """The state that was written last, or None: there is no file, or it is of other learning.

        Raises:
            ValueError: the file cannot be read; the message names it.
        """
        if not self._path.exists():
            return None
        try:
            stored = torch.load(self._path, map_location="cpu", weights_only=True)
            return stored["state"] if stored["key"] == self._key else None
        except Exception as error:  # torch.load has no common error
            raise ValueError(
                f"{self._path} is not readable ({str(error).splitlines()[0]:.200}); remove it to "
                "begin with these relations again"
            ) from error

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last >= self._pause

    def save(self, state: Any) -> None:
        """Write the state; killed while writing, the file still has the state before."""
        started = time.monotonic()
        unfinished = self._path.with_name(f"{self._path.name}.part")
        torch.save({"key": self._key, "state": state}, unfinished)
        unfinished.replace(self._path)
        self._last = time.monotonic()
        self._pause = max(self._pause, (self._last - started) / _SHARE)

    def remove(self) -> None:
        """Remove the file: all is learned."""
        self._path.unlink(missing_ok=True)
