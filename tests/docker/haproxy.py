"""The proxy's own configuration, run by a real HAProxy."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.docker.conftest import DOCKER, program
from tests.docker.replicas import Dns, free_port

CONFIGURATION = DOCKER / "proxy" / "haproxy.cfg"


@dataclass
class HAProxy:
    """A running HAProxy.

    Attributes:
        port: where it takes requests.
        monitoring: a client of where it tells of itself.
    """

    process: subprocess.Popen[bytes]
    port: int
    monitoring: httpx.Client

    def active(self) -> int:
        """How many replicas it holds for ready."""
        text = self.monitoring.get("/metrics").text
        line = next(
            line
            for line in text.splitlines()
            if line.startswith('haproxy_backend_active_servers{proxy="replicas"}')
        )
        return int(float(line.split()[-1]))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait until it holds; the test fails where it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {what}")


def haproxy_program() -> str:
    """Path of HAProxy; skips the test where it is missing."""
    return program("haproxy", package="Debian: haproxy")


@contextlib.contextmanager
def run_haproxy(dns: Dns, replica_port: int, folder: Path) -> Iterator[HAProxy]:
    """HAProxy in front of whatever addresses the DNS server names, until the end of the block."""
    program_path = haproxy_program()
    port, monitoring = free_port(), free_port()
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            # As the image's entry point runs it.
            [program_path, "-W", "-db", "-f", str(CONFIGURATION)],
            env={
                "PATH": os.environ["PATH"],
                "PROXY_DNS": dns.address,
                "PROXY_BIND": f"127.0.0.1:{port}",
                "PROXY_MONITORING_BIND": f"127.0.0.1:{monitoring}",
                "PROXY_REPLICAS": f"relata.test:{replica_port}",
            },
            stdout=log,
            stderr=log,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{monitoring}", trust_env=False) as client:
        try:
            wait_for(lambda: _answers(client), "the proxy answers")
            yield HAProxy(process, port, client)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False
