"""How every kind of question travels: body, deadline, one or many, answer."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import orjson
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.body import read_json
from app.cache.status import HEADER as CACHE_HEADER
from app.cache.status import cache_status
from app.errors import DeadlineError, FieldFault, RequestError, TimeoutHeaderError
from app.features.feature import Feature, Summarising
from app.json_text import decode_json, encode_json
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
    kind_of,
    problem_of,
)
from app.schemas.strict import Outbound
from app.service import Service, Timing
from app.settings import Settings
from app.trace import trace_of

logger = logging.getLogger(__name__)

TIMEOUT_HEADER = "X-Request-Timeout"

# Decoding more than this would keep the event loop from others.
_LARGE_BODY = 2**15
# And so would writing more than so many answers; fewer are written before a thread would begin.
_MANY_ANSWERS = 64

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
    trace = trace_of(request.scope)
    trace.kind, trace.questions = feature.kind, 1
    try:
        content, trace.timing = await _in_time(request, service, feature)
    except ClientDisconnect:
        raise
    except Exception as error:
        trace.outcomes[_outcome(error)] += trace.questions
        raise
    headers = {"Server-Timing": _server_timing(trace.timing)}
    if trace.timing.sources:
        headers[CACHE_HEADER] = cache_status(trace.timing.sources)
    return Response(content, media_type="application/json", headers=headers)


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


async def _in_time(request: Request, service: Service, feature: Feature) -> tuple[bytes, Timing]:
    seconds = _seconds(request, service.settings)
    watching: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(seconds) as deadline:
            # By hand and not as a parameter: the size must be checked before the body is read,
            # and one bad question must not refuse the others.
            text = await read_json(request, service.settings.max_body_bytes)
            watching = asyncio.create_task(_watch(request, deadline))
            return await _answered(request, service, feature, text)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        if watching is not None and watching.done():
            raise ClientDisconnect from error
        raise DeadlineError(seconds) from error
    finally:
        if watching is not None:
            watching.cancel()


async def _watch(request: Request, deadline: asyncio.Timeout) -> None:
    """Let the deadline pass at once when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    deadline.reschedule(asyncio.get_running_loop().time())


async def _answered(
    request: Request, service: Service, feature: Feature, text: bytes
) -> tuple[bytes, Timing]:
    trace = trace_of(request.scope)
    long = len(text) > _LARGE_BODY
    if long:
        body = await service.in_thread(partial(decode_json, text), long=True)
    else:
        body = decode_json(text)
    if isinstance(body, dict) and feature.many in body:
        questions = _questions(body, feature.many)
        trace.questions = max(1, len(questions))
        answers, timing = await service.ask_many(feature, questions, long=long)
        if len(answers) > _MANY_ANSWERS:
            content = await service.in_thread(partial(_results, feature, answers), long=True)
        else:
            content = _results(feature, answers)
        trace.outcomes = Counter(map(_outcome, answers))
        return content, timing
    answer, timing = await service.ask(feature, body, long=long)
    content = encode(answer)
    trace.outcomes[_outcome(answer)] += 1
    return content, timing


def _outcome(answer: Outbound | Exception) -> str:
    if isinstance(answer, Outbound):
        return "answered"
    ours = kind_of(answer).status >= INTERNAL_ERROR.status
    return "failed" if ours else "refused"


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
    """An answer as JSON: its fields in their order, numbers that are not finite as null."""
    return orjson.dumps(answer, default=_fields)


def _fields(part: object) -> dict[str, object]:
    """What orjson is to write for a part of an answer that it does not know."""
    if not isinstance(part, Outbound):
        raise TypeError(f"{type(part).__name__} is no part of an answer")
    return part.__dict__


def _results(feature: Feature, answers: Sequence[Outbound | Exception]) -> bytes:
    results = b'{"results":[' + b",".join(map(_result, answers)) + b"]"
    summary = feature.summary(answers) if isinstance(feature, Summarising) else None
    # Its own fields stand beside the results: its opening brace becomes a comma.
    return results + (b"}" if summary is None else b"," + encode(summary)[1:])


def _result(answer: Outbound | Exception) -> bytes:
    if isinstance(answer, Outbound):
        return encode(answer)
    problem = problem_of(answer)
    if problem.status == INTERNAL_ERROR.status:
        logger.error("a question failed", exc_info=answer)
    return encode_json(problem.content())


def _server_timing(timing: Timing) -> str:
    parts = (("queue", timing.queue), ("tokenize", timing.tokenize), ("infer", timing.infer))
    return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts)
