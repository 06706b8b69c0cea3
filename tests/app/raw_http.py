"""A client that sends bytes as they are told, to see what a server does with each."""

import socket
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """A response with a Content-Length."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class RawConnection:
    """One connection; `with` closes it."""

    socket: socket.socket
    _left: bytes = field(default=b"")

    @classmethod
    def open(cls, url: str, timeout: float = 60) -> Self:
        parts = urlsplit(url)
        return cls(socket.create_connection((parts.hostname, parts.port), timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def post(self, path: str, body: bytes, *headers: str) -> None:
        self.send(post(path, body, *headers))

    def answer(self) -> Answer:
        """The next response; EOFError: the connection ended before it was whole."""
        while b"\r\n\r\n" not in self._left:
            self._left += self._some()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        status = int(first.split()[1])
        length = int(headers.get("content-length", 0))
        while len(self._left) < length:
            self._left += self._some()
        body, self._left = self._left[:length], self._left[length:]
        return Answer(status, headers, body)

    def ended(self) -> bool:
        """Wait for the end of the stream; False: something came instead."""
        return not self._left and self.socket.recv(1) == b""

    def _some(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"the connection ended after {self._left!r:.200}")
        return data


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A POST of JSON as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
