"""A client that costs little beside the server it measures: raw HTTP/1.1 on kept-alive connections.

httpx takes about a millisecond of processor time for a request, which on a machine of two cores
would be measured as the server's.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

# What a request ends in when no answer comes.
NO_CONNECTION = 0
BROKEN = -1


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        status: of HTTP; `NO_CONNECTION` if none could be made, `BROKEN` if it ended before the
            answer was whole.
        seconds: from the first byte sent to the last one read; of an open load from the moment the
            request was due, so that a slow server does not hide its queue.
        body: of the answer.
        headers: names in lower case.
        sent_at: time.monotonic() when it was sent.
    """

    status: int
    seconds: float
    body: bytes
    headers: dict[str, str]
    sent_at: float


class Connection:
    """One kept-alive connection; opened when it is needed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> Reply:
        """Send a whole request and read the answer."""
        started = time.monotonic()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
        except OSError:
            return Reply(NO_CONNECTION, time.monotonic() - started, b"", {}, started)
        reader, writer = self._streams
        try:
            writer.write(request)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Reply(BROKEN, time.monotonic() - started, b"", {}, started)
        if headers.get("connection", "").lower() == "close":
            self.close()
        status = int(head[0].split(" ", 2)[1])
        return Reply(status, time.monotonic() - started, body, headers, started)

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A request with a JSON body."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: benchmark",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def closed_load(
    url: str, requests: Iterator[bytes], *, clients: int, seconds: float
) -> list[Reply]:
    """So many clients, each sending its next request when it has its answer, for that long."""
    replies: list[Reply] = []
    end = time.monotonic() + seconds

    async def client() -> None:
        connection = Connection(url)
        while time.monotonic() < end:
            replies.append(await connection.send(next(requests)))
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return replies


async def open_load(
    url: str, requests: Iterator[bytes], *, rate: float, seconds: float, seed: int = 0
) -> list[Reply]:
    """Requests at random moments (Poisson), `rate` a second, whether answers come or not."""
    random = Random(seed)
    free: list[Connection] = []
    replies: list[Reply] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        connection = free.pop() if free else Connection(url)
        reply = await connection.send(next(requests))
        free.append(connection)
        waited = reply.sent_at - due
        replies.append(Reply(reply.status, reply.seconds + waited, reply.body, reply.headers, due))

    start = due = time.monotonic()
    while due < start + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += random.expovariate(rate)
    while tasks:
        await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return replies
