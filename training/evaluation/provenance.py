"""Where an evaluation comes from: versions, commit, seed and the digests of what went in."""

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from training.data.errors import DataError
from training.evaluation.json_fields import field

_PACKAGES = ("relata", "torch", "transformers", "numpy")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What one must know to repeat an evaluation.

    `versions` are (name, version) pairs; `commit` is that of the code, ending in `-dirty` if it
    was changed since, or None outside a checkout; `date` is ISO 8601 in UTC.
    """

    date: str
    seed: int
    data_digest: str
    split_digest: str
    base_digest: str
    versions: tuple[tuple[str, str], ...]
    commit: str | None

    def rows(self) -> list[tuple[str, str]]:
        """Return (what, value) pairs to print."""
        return [
            ("date", self.date),
            ("seed", str(self.seed)),
            ("data", self.data_digest),
            ("split", self.split_digest),
            ("base model", self.base_digest),
            ("commit", self.commit or "not a checkout"),
            *self.versions,
        ]

    def to_record(self) -> dict[str, object]:
        """Return the fields as JSON has them."""
        return {
            "date": self.date,
            "seed": self.seed,
            "data_digest": self.data_digest,
            "split_digest": self.split_digest,
            "base_digest": self.base_digest,
            "versions": dict(self.versions),
            "commit": self.commit,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> "Provenance":
        """Return the provenance that `to_record` wrote.

        Raises:
            DataError: a field is missing or of another type.
        """
        versions = field(record, "versions", dict)
        if not all(isinstance(text, str) for pair in versions.items() for text in pair):
            raise DataError("'versions' must hold strings only")
        return cls(
            date=field(record, "date", str),
            seed=field(record, "seed", int),
            data_digest=field(record, "data_digest", str),
            split_digest=field(record, "split_digest", str),
            base_digest=field(record, "base_digest", str),
            versions=tuple(versions.items()),
            commit=None if record.get("commit") is None else field(record, "commit", str),
        )


def collect_provenance(
    *, seed: int, data_digest: str, split_digest: str, base_digest: str
) -> Provenance:
    """Return the provenance of an evaluation made now by the code and packages in use."""
    return Provenance(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        data_digest=data_digest,
        split_digest=split_digest,
        base_digest=base_digest,
        versions=(
            ("python", platform.python_version()),
            *((package, _version(package)) for package in _PACKAGES),
        ),
        commit=_commit(),
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    here = Path(__file__)
    # An installed copy may lie inside somebody else's checkout: only a tracked file vouches.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
