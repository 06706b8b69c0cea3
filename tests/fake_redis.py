"""A server that speaks Redis' protocol and can be told to lie, stall or talk nonsense.

What a real redis-server never does on request. It knows MGET, SET and what a client says on
connecting, which is all that the cache of answers uses.
"""

import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Values = list[bytes | None]

# The key that is asked for to see whether Redis answers; it gets an honest answer, so that
# lies are told to those who look for answers.
PROBE = b"relata:answer:"


class HangUpError(Exception):
    """Raised by a lie to break the connection, after sending what it holds."""

    def __init__(self, last_words: bytes = b"") -> None:
        super().__init__(last_words)
        self.last_words = last_words


@dataclass
class FakeRedis:
    """What it holds, and how it behaves.

    Attributes:
        url: what RELATA_REDIS_URL is set to.
        data: values by key.
        reply: the bytes that answer an MGET, given its keys and their values.
        on_connect: what is done with a new connection before anything is read.
        delay: seconds before each reply.
        stalled: connections that were open when it was set are answered no more.
        refusal: the error that every SET gets.
        asked: keys of every MGET but those that only try it.
    """

    url: str = ""
    data: dict[bytes, bytes] = field(default_factory=dict)
    reply: Callable[[Sequence[bytes], Values], bytes] | None = None
    delay: float = 0.0
    refusal: bytes | None = None
    error: bytes | None = None
    asked: list[list[bytes]] = field(default_factory=list)
    connections: int = 0
    _silent: set[int] = field(default_factory=set)

    def stall(self) -> None:
        """Say nothing more on the connections there are; new ones are answered."""
        self._silent = set(range(self.connections))

    def answer(self, connection: int, command: Sequence[bytes]) -> bytes:
        """The reply to a command; empty for none."""
        time.sleep(self.delay)
        if connection in self._silent:
            return b""
        if self.error is not None:
            return self.error
        match command[0].upper():
            case b"MGET":
                keys = list(command[1:])
                values = [self.data.get(key) for key in keys]
                if keys == [PROBE]:
                    return array(values)
                self.asked.append(keys)
                return array(values) if self.reply is None else self.reply(keys, values)
            case b"SET":
                if self.refusal is not None:
                    return self.refusal
                self.data[command[1]] = command[2]
        return b"+OK\r\n"


def bulk(value: bytes | None) -> bytes:
    """A value as a reply."""
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values: Sequence[bytes | None]) -> bytes:
    """Values as the reply to an MGET."""
    return b"*%d\r\n" % len(values) + b"".join(map(bulk, values))


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        fake: FakeRedis = self.server.fake  # type: ignore[attr-defined]
        connection = fake.connections
        fake.connections += 1
        while command := self._command():
            try:
                self.wfile.write(fake.answer(connection, command))
            except HangUpError as error:
                self.wfile.write(error.last_words)
                return
            except OSError:
                return

    def _command(self) -> list[bytes]:
        try:
            head = self.rfile.readline()
            parts = []
            for _ in range(int(head[1:] or 0)):
                size = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(size + 2)[:-2])
        except (OSError, ValueError):
            return []
        return parts


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


class _Unix(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def fake_redis(socket: Path | None = None) -> Iterator[FakeRedis]:
    """A fake on a free port of this machine, or at a socket."""
    server = _Tcp(("127.0.0.1", 0), _Handler) if socket is None else _Unix(str(socket), _Handler)
    fake = FakeRedis()
    fake.url = (
        f"redis://127.0.0.1:{server.server_address[1]}" if socket is None else f"unix://{socket}"
    )
    server.fake = fake  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
