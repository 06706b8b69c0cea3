"""A `relata serve` of our own, started as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.memory import Memory, memory_of

_PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.02


class ServerError(RuntimeError):
    """The server ended or never became ready; the message has its log."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        pid: of its process.
        client: kept-alive connections to it.
        seconds_to_ready: from the start of the process to the first 200 of `/ready`.
    """

    pid: int
    client: httpx.Client
    seconds_to_ready: float

    def memory(self) -> Memory:
        """What it takes now."""
        return memory_of(self.pid)


@contextmanager
def running_server(settings: Mapping[str, str], *, threads: int) -> Iterator[Server]:
    """A server with those `RELATA_*` settings (names without the prefix) on a free port.

    Raises:
        ServerError: it ended early, or was not ready in time.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RELATA_")}
    environment = inherited | {
        "OMP_NUM_THREADS": str(threads),
        "RELATA_THREADS": str(threads),
        "RELATA_PORT": "0",
        **{f"RELATA_{name.upper()}": value for name, value in settings.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "relata", "serve"],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            url = _address(process, log, started)
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                _wait_ready(process, log, client, started)
                yield Server(process.pid, client, time.perf_counter() - started)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _address(process: subprocess.Popen[bytes], log: Path, started: float) -> str:
    while True:
        if found := re.search(r"listening on (http://\S+)", log.read_text(encoding="utf-8")):
            return found[1]
        _pause(process, log, started)


def _wait_ready(
    process: subprocess.Popen[bytes], log: Path, client: httpx.Client, started: float
) -> None:
    while client.get("/ready").status_code != httpx.codes.OK:
        _pause(process, log, started)


def _pause(process: subprocess.Popen[bytes], log: Path, started: float) -> None:
    if process.poll() is not None or time.perf_counter() - started > _PATIENCE_SECONDS:
        state = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
        raise ServerError(f"the server {state}; its log:\n{log.read_text(encoding='utf-8')}")
    time.sleep(_POLL_SECONDS)
