"""Memory of a process as Linux counts it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """Bytes of a process.

    Attributes:
        rss: resident now, shared pages counted in full.
        peak_rss: the most that was resident.
        pss: resident now, each shared page divided by its sharers; None where not readable.
    """

    rss: int
    peak_rss: int
    pss: int | None

    def text(self) -> str:
        """`412 MiB RSS, 398 MiB PSS (peak 420 MiB RSS)`."""
        pss = "" if self.pss is None else f", {self.pss / MIB:.0f} MiB PSS"
        return f"{self.rss / MIB:.0f} MiB RSS{pss} (peak {self.peak_rss / MIB:.0f} MiB RSS)"


def memory_of(pid: int | Literal["self"]) -> Memory:
    """Memory of a running process of ours, from /proc."""
    folder = Path("/proc") / str(pid)
    status = _kibibytes(folder / "status")
    try:
        pss = _kibibytes(folder / "smaps_rollup").get("Pss")
    except OSError:
        pss = None
    return Memory(
        rss=status["VmRSS"] * 1024,
        peak_rss=status["VmHWM"] * 1024,
        pss=None if pss is None else pss * 1024,
    )


def _kibibytes(path: Path) -> dict[str, int]:
    fields: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        parts = rest.split()
        if len(parts) == 2 and parts[1] == "kB":
            fields[name] = int(parts[0])
    return fields
