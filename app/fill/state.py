"""How far a job has come, kept beside its output."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from app.fill.errors import FillError

_FORMAT = 1
# So much of a file, and its size, tell whether it is another one.
_LOOKED_AT = 2**20


@dataclass(frozen=True)
class Done:
    """What an output holds for certain.

    Attributes:
        rows: of the input.
        refused: of these, rows with an error.
        place: in the output, as its writer counts.
    """

    rows: int = 0
    refused: int = 0
    place: int = 0


def job_digest(input_path: Path, what: Mapping[str, object]) -> str:
    """Tells jobs apart: the input's size and first MiB, and all that its answers depend on."""
    state = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    state.update(str(input_path.stat().st_size).encode())
    with input_path.open("rb") as file:
        state.update(file.read(_LOOKED_AT))
    return state.hexdigest()


def load_done(output: Path, digest: str) -> Done:
    """How far a job has come; nothing if it was not begun.

    Raises:
        FillError: what was begun is another job, or the file that says so cannot be read.
    """
    path = _path(output)
    if not path.exists():
        return Done()
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["format"] != _FORMAT:
            raise ValueError(f"it has format {state['format']}")
        done = Done(**state["done"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FillError(
            f"{path.name} cannot be read ({error}); begin again with --restart"
        ) from error
    if state["job"] != digest:
        raise FillError(
            f"{path.name} is of another job: the input, the options or the masks have changed "
            "since; begin again with --restart, or name another output"
        )
    return done


def save_done(output: Path, digest: str, done: Done) -> None:
    """Keep how far a job has come, in one step."""
    path = _path(output)
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, "job": digest, "done": asdict(done)}, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def forget(output: Path) -> None:
    """A job that is done, or is to begin again, has no state."""
    _path(output).unlink(missing_ok=True)


def _path(output: Path) -> Path:
    return output.with_name(f"{output.name}.progress")
