"""How every kind of question travels: body, deadline, one or many, answer."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.body import read_json
from app.errors import DeadlineError, FieldFault, RequestError, TimeoutHeaderError
from app.features.feature import Feature, Summarising
from app.json_text import encode_json
from app.problems import (
    BODY_TOO_LARGE,
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_COMBINE,
    INVALID_JSON,
    INVALID_PROMPT,
    INVALID_REQUEST,
    INVALID_TIMEOUT,
    INVALID_WORD,
    NOT_READY,
    OVERLOADED,
    REFUSED_RELATION,
    TOO_MANY_ITEMS,
    TOO_MANY_QUESTIONS,
    TOO_MANY_ROWS,
    UNAUTHORIZED,
    UNKNOWN_RELATION,
    UNSUPPORTED_MEDIA_TYPE,
    problem_of,
)
from app.schemas.strict import Outbound
from app.service import Service, Timing
from app.settings import Settings

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

TIMEOUT_HEADER = "X-Request-Timeout"

# What any question may be refused with.
ASKING_PROBLEMS = (
    INVALID_JSON,
    INVALID_TIMEOUT,
    UNAUTHORIZED,
    UNKNOWN_RELATION,
    REFUSED_RELATION,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    INVALID_REQUEST,
    INVALID_PROMPT,
    INVALID_WORD,
    INVALID_COMBINE,
    TOO_MANY_QUESTIONS,
    TOO_MANY_ITEMS,
    TOO_MANY_ROWS,
    OVERLOADED,
    NOT_READY,
    DEADLINE_EXCEEDED,
)


async def answer(request: Request, service: Service, feature: Feature) -> Response:
    """Answer the request's question, or the many questions in its body.

    The work is given up when the deadline passes or the client goes away, and then leaves the
    queue.

    Raises:
        AppError, UnknownRelationError: the request is refused.
        ClientDisconnect: the client went away.
    """
    seconds = _seconds(request, service.settings)
    try:
        async with asyncio.timeout(seconds):
            # By hand and not as a parameter: the size must be checked before the body is read,
            # and one bad question must not refuse the others.
            body = await read_json(request, service.settings.max_body_bytes)
            content, timing = await _unless_gone(
                request, _answered(request, service, feature, body)
            )
    except TimeoutError as error:
        raise DeadlineError(seconds) from error
    return Response(
        content, media_type="application/json", headers={"Server-Timing": _server_timing(timing)}
    )


def request_body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of the body, which FastAPI does not see."""
    content = {"application/json": {"schema": schema, "examples": examples}}
    header = {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "Seconds after which the request is given up.",
    }
    return {"requestBody": {"required": True, "content": content}, "parameters": [header]}


async def _answered(
    request: Request, service: Service, feature: Feature, body: object
) -> tuple[bytes, Timing]:
    if isinstance(body, dict) and feature.many in body:
        answers, timing = await service.ask_many(feature, _questions(body, feature.many))
        content = await to_thread.run_sync(_results, feature, answers, request.state.request_id)
        return content, timing
    answer, timing = await service.ask(feature, body)
    return encode(answer), timing


async def _unless_gone(request: Request, work: Awaitable[Value]) -> Value:
    """The work's result; the work is cancelled if the client goes away first."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _seconds(request: Request, settings: Settings) -> float:
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return settings.request_timeout
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= settings.max_request_timeout:
        raise TimeoutHeaderError(
            f"{TIMEOUT_HEADER} must be a number of seconds, above 0 and at most "
            f"{settings.max_request_timeout:g}, not {given!r:.40}"
        )
    return seconds


def _questions(body: dict[str, Any], many: str) -> list[object]:
    faults = [
        FieldFault((name,), f"there is no such field beside {many}; put it into each of them")
        for name in body
        if name != many
    ]
    if not isinstance(body[many], list):
        faults.append(FieldFault((many,), f"it must be a list of {many}"))
    if faults:
        raise RequestError(tuple(faults))
    questions: list[object] = body[many]
    return questions


def encode(answer: Outbound) -> bytes:
    """An answer as JSON."""
    return answer.model_dump_json().encode()


def _results(feature: Feature, answers: Sequence[Outbound | Exception], request_id: str) -> bytes:
    results = b'{"results":[' + b",".join(_result(one, request_id) for one in answers) + b"]"
    summary = feature.summary(answers) if isinstance(feature, Summarising) else None
    # Its own fields stand beside the results: its opening brace becomes a comma.
    return results + (b"}" if summary is None else b"," + encode(summary)[1:])


def _result(answer: Outbound | Exception, request_id: str) -> bytes:
    if isinstance(answer, Outbound):
        return encode(answer)
    problem = problem_of(answer)
    if problem.status == INTERNAL_ERROR.status:
        logger.error("a question of request %s failed", request_id, exc_info=answer)
    return encode_json(problem.content())


def _server_timing(timing: Timing) -> str:
    parts = (("queue", timing.queue), ("tokenize", timing.tokenize), ("infer", timing.infer))
    return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts)
