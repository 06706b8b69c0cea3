"""Every request gets an id, a line in the log, and a problem instead of a crash."""

import logging
import re
from time import perf_counter
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems import error_response

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestTracing:
    """ASGI middleware around everything else.

    A request keeps the X-Request-ID it came with, if that is 1 to 128 letters, digits, `.`, `_`
    or `-`, and gets one otherwise. An error that no handler knows is logged with the id and
    answered with a problem that tells nothing of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        started = perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            logger.exception("request %s failed", request_id)
            if status:
                # Half an answer is out; breaking the connection is the only way to say so.
                raise
            await error_response(error, request_id=request_id)(scope, receive, send_with_id)
        finally:
            logger.info(
                "%s %s %d %.1f ms %s",
                scope["method"],
                scope["path"].encode("unicode_escape").decode(),
                status,
                (perf_counter() - started) * 1000,
                request_id,
            )


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _ID.fullmatch(given) else uuid4().hex
