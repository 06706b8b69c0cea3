"""Every request gets an id, a line in the log, its metrics, and a problem instead of a crash."""

import logging
import re
import secrets
from http import HTTPStatus
from itertools import count
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import REQUEST_ID
from app.metrics import Metrics
from app.problems import CLIENT_GONE, error_response
from app.readiness import Readiness
from app.trace import Trace

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Asked every few seconds by machines: their lines would hide the others.
_PROBES = frozenset(("/health", "/ready", "/metrics"))
_NO_ROUTE = "other"
# An id of ours: 80 random bits for the process, and a number. (Random bits for each request are a
# call of the operating system for each.)
_PROCESS = secrets.token_hex(10)
_NUMBERS = count(1)


class RequestTracing:
    """ASGI middleware around everything else.

    A request keeps the X-Request-ID it came with, if that is 1 to 128 letters, digits, `.`, `_`
    or `-`, and gets one otherwise. An error that no handler knows is logged with the id and
    answered with a problem that tells nothing of it.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, readiness: Readiness) -> None:
        self._app = app
        self._metrics = metrics
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = Trace(_request_id(scope))
        scope.setdefault("state", {})["trace"] = trace
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = trace.request_id
            await send(message)

        started = perf_counter()
        token = REQUEST_ID.set(trace.request_id)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            logger.exception("a request failed")
            if status:
                # Half an answer is out; breaking the connection is the only way to say so.
                raise
            response = error_response(error, request_id=trace.request_id)
            await response(scope, receive, send_with_id)
        finally:
            self._record(scope, trace, status, perf_counter() - started)
            REQUEST_ID.reset(token)

    def _record(self, scope: Scope, trace: Trace, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", trace.question_path or _NO_ROUTE)
        self._metrics.record_request(route, scope["method"], status, seconds)
        self._metrics.record_questions(trace)
        self._count_refusal(trace, status)
        quiet = (
            # An overload is mostly refusals: metrics count them, and a line for each costs answers.
            status == HTTPStatus.TOO_MANY_REQUESTS
            or (scope["path"] in _PROBES and status < HTTPStatus.BAD_REQUEST)
        )
        level = logging.DEBUG if quiet else logging.INFO
        if not logger.isEnabledFor(level):
            return
        path = scope["path"].encode("unicode_escape").decode()
        fields = {
            "method": scope["method"],
            "path": path,
            "status": status,
            "duration_ms": round(seconds * 1000, 2),
            **trace.fields(),
        }
        logger.log(
            level,
            "%s %s %d %.1f ms",
            scope["method"],
            path,
            status,
            seconds * 1000,
            extra=fields,
        )

    def _count_refusal(self, trace: Trace, status: int) -> None:
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self._metrics.record_refusal("queue_full")
        elif status == HTTPStatus.GATEWAY_TIMEOUT:
            self._metrics.record_refusal("deadline")
        elif status == HTTPStatus.SERVICE_UNAVAILABLE and trace.question_path:
            self._metrics.record_refusal("stopping" if self._readiness.draining else "not_ready")
        elif status == CLIENT_GONE:
            self._metrics.record_cancelled()


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _ID.fullmatch(given) else f"{_PROCESS}{next(_NUMBERS):012x}"
