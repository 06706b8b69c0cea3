"""How a connection ends after an answer: announced, and not before the client can read it."""

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.readiness import Readiness

# A client still sending gets so long, and its answer meanwhile.
_LINGER_SECONDS = 2.0


class ConnectionClosing:
    """ASGI middleware that says when a connection ends, and then lets the client finish.

    While the server drains every answer says `Connection: close`. So does one that comes before
    a client was given leave to send its body (`Expect: 100-continue`): what it sends next could be
    that body or another request.

    A connection that is closed while its client is sending is reset, and the answer with it may be
    lost. So where the body was not read to its end, the rest is read before the connection is
    closed. (A connection that stays open reads on by itself.)
    """

    def __init__(self, app: ASGIApp, *, readiness: Readiness) -> None:
        self._app = app
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        waits = headers.get("expect", "").lower() == "100-continue"
        sending = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        closes = scope["http_version"] == "1.0" or "close" in headers.get("connection", "").lower()

        async def receive_noted() -> Message:
            nonlocal sending, waits
            waits = False
            message = await receive()
            if not message.get("more_body", False):
                sending = False
            return message

        async def send_noted(message: Message) -> None:
            nonlocal closes
            if message["type"] == "http.response.start":
                if waits or self._readiness.draining:
                    closes = True
                    MutableHeaders(scope=message)["Connection"] = "close"
            elif closes and sending and not waits and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _read_on(receive)
                message = {"type": "http.response.body"}
            await send(message)

        await self._app(scope, receive_noted, send_noted)


async def _read_on(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
