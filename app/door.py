"""Refuses questions that cannot be answered now before anything of them is read."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import NotReadyError, OverloadedError
from app.problems import error_response
from app.readiness import Readiness
from app.trace import trace_of


class Door:
    """ASGI middleware in front of routing.

    An overload is mostly refusals: each must cost next to nothing, or answering suffers. Whoever
    is let in may still find too little room for all of its questions.
    """

    def __init__(self, app: ASGIApp, *, paths: Iterable[str], readiness: Readiness) -> None:
        self._app = app
        self._paths = frozenset(paths)
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._paths:
            trace_of(scope).question_path = scope["path"]
            refusal = self._refusal()
            if refusal is not None:
                await error_response(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self) -> OverloadedError | NotReadyError | None:
        try:
            return self._readiness.require().inference.refusal()
        except NotReadyError as error:
            return error
