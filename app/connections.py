"""HTTP connections as uvicorn has them, with an end for clients that send nothing or too much.

uvicorn waits for the head of a request for ever and, with httptools, lets it grow without limit;
and it closes an idle connection although a request may just have come in on it. The base class
here has answers to all of that; both of uvicorn's protocols get it.
"""

import asyncio
import re
import select
from http import HTTPStatus
from importlib.util import find_spec
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from app.json_text import encode_json
from app.problems import MEDIA_TYPE, plain_problem

# For the head of a request, from its first byte or that of the connection; also for what is left
# of a body that nobody reads any more.
_HEAD_SECONDS = 10.0
# For a connection without a request, once the server drains.
_LAST_SECONDS = 1.0
HEAD_BYTES = 2**15

_UPGRADE = re.compile(rb"\r\nupgrade:(?=[ \t]*h2c)", re.IGNORECASE)


class GuardedConnection(asyncio.Protocol):
    """To be mixed into one of uvicorn's protocols, before it."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    cycle: Any
    _waiting: asyncio.TimerHandle | None = None
    _receiving = False
    _too_long = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, but not for ever."""
        super().connection_made(transport)
        self._wait(_HEAD_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Once a whole head is there, the request has its own deadline."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._receiving = not self._serving()
        if not self._receiving:
            self._stop_waiting()
        elif self._waiting is None:
            self._wait(_HEAD_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless something has come in on it."""
        if not self._readable():
            self.transport.close()

    def shutdown(self) -> None:
        """Called when the server drains: close, if no request is there or on its way in."""
        if self._serving():
            self.cycle.keep_alive = False
        elif self.cycle is None and not self._receiving:
            # Just accepted, most likely: its request is about to come.
            self._stop_waiting()
            self._wait(_LAST_SECONDS)
        elif not self._receiving and not self._readable():
            self.transport.close()

    def send_400_response(self, _: str) -> None:
        """Answer what is no HTTP request, or has too long a head, and close."""
        if self._too_long:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            detail = f"the head of the request is longer than {HEAD_BYTES} bytes"
        else:
            status, detail = HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1"
        content = encode_json(plain_problem(status, detail).content())
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(content)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """It is no fault to ask for another protocol; the request is answered as it is."""

    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _readable(self) -> bool:
        """Whether bytes, or the end of the stream, are there and not yet read."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _wait(self, seconds: float) -> None:
        self._waiting = self.loop.call_later(seconds, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self._receiving or not self._readable():
            self.transport.close()


class H11Connection(GuardedConnection, H11Protocol):
    """A connection read by h11, which limits the head itself."""


def connection_class() -> type[asyncio.Protocol]:
    """The faster of the two that is installed."""
    return H11Connection if find_spec("httptools") is None else _httptools_connection()


def _httptools_connection() -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415

    class HttpToolsConnection(GuardedConnection, HttpToolsProtocol):
        """A connection read by httptools."""

        _in_head = False
        _head_bytes = 0

        def data_received(self, data: bytes) -> None:
            """End a head that is too long before it is whole."""
            was_in_head = self._in_head
            if b"h2c" in data and not was_in_head and not self._serving():
                data = _without_upgrade(data)
            super().data_received(data)
            if was_in_head and self._in_head and not self.transport.is_closing():
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES:
                    self._too_long = True
                    self.send_400_response("")

        def on_message_begin(self) -> None:
            """A head begins."""
            self._in_head, self._head_bytes = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """A head is whole.

            Raises:
                ValueError: it is too long; uvicorn then calls `send_400_response`.
            """
            self._in_head = False
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > HEAD_BYTES:
                self._too_long = True
                raise ValueError("the head is too long")
            super().on_headers_complete()

    return HttpToolsConnection


def _without_upgrade(data: bytes) -> bytes:
    """A head that no longer asks for HTTP/2.

    Java's client does by default, and httptools takes what follows such a head for HTTP/2, though
    it is the body of the request.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    # Of the same length, in case that this is no head.
    return _UPGRADE.sub(b"\r\nx-grade:", head) + end + rest
