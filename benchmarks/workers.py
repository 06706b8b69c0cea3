"""A side of a benchmark in a process of its own, so that its memory is its own.

It is asked in lines of JSON on its standard input, and gives a line for each.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.memory import Memory, memory_of


class Worker:
    """A process that answers messages one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, message: object) -> Any:
        """Send a message, and wait for the answer to it.

        Raises:
            RuntimeError: the process ended.
        """
        self.send(message)
        return self.receive()

    def send(self, message: object) -> None:
        """Send a message; several workers can be at work at a time."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Wait for the next answer.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended; run it by hand to see why")
        return json.loads(line)

    def memory(self) -> Memory:
        """What the process takes now."""
        return memory_of(self._process.pid)


@contextmanager
def worker(module: str, arguments: Sequence[str], *, threads: int) -> Iterator[Worker]:
    """Run a module of ours until the context ends, which closes its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Worker(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def messages() -> Iterator[Any]:
    """In a worker: what it is asked, until its standard input closes."""
    for line in sys.stdin:
        yield json.loads(line)


def answer(message: object) -> None:
    """In a worker: give the answer to what it was asked last."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
