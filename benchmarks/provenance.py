"""Where figures come from: machine, versions, commit, and how busy the machine was."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("relata", "torch", "transformers", "httpx", "uvicorn")


def provenance() -> dict[str, str]:
    """What one must know to repeat a measurement made now, by what it is."""
    usable = len(os.sched_getaffinity(0))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_cpu()}, {usable} of {os.cpu_count()} cores, {platform.system()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()) + " (1, 5, 15 min)",
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "commit": _commit(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "not a checkout"
    return done.stdout.strip()
