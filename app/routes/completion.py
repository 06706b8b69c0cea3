"""Completing sentences."""

import logging
from collections.abc import Sequence
from typing import Any

from anyio import to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from app.body import read_json
from app.errors import FieldFault, RequestError
from app.json_text import encode_json
from app.problems import (
    BODY_TOO_LARGE,
    INTERNAL_ERROR,
    INVALID_COMBINE,
    INVALID_JSON,
    INVALID_PROMPT,
    INVALID_REQUEST,
    INVALID_WORD,
    NOT_READY,
    OVERLOADED,
    REFUSED_RELATION,
    TOO_MANY_COMPLETIONS,
    TOO_MANY_QUERIES,
    UNKNOWN_RELATION,
    UNSUPPORTED_MEDIA_TYPE,
    documented,
    problem_of,
)
from app.readiness import ReadyService
from app.schemas.completion import CompletionAnswer, CompletionResults, request_schema
from app.schemas.examples import COMPLETE_EXAMPLES
from app.service import Timing

logger = logging.getLogger(__name__)

router = APIRouter(tags=["completion"])


@router.post(
    "/complete",
    response_model=CompletionAnswer | CompletionResults,
    responses=documented(
        INVALID_JSON,
        UNKNOWN_RELATION,
        REFUSED_RELATION,
        BODY_TOO_LARGE,
        UNSUPPORTED_MEDIA_TYPE,
        INVALID_REQUEST,
        INVALID_PROMPT,
        INVALID_WORD,
        INVALID_COMBINE,
        TOO_MANY_QUERIES,
        TOO_MANY_COMPLETIONS,
        OVERLOADED,
        NOT_READY,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": request_schema(), "examples": COMPLETE_EXAMPLES}
            },
        }
    },
)
async def complete(request: Request, service: ReadyService) -> Response:
    """Rank the objects that complete a sentence, under the masks of the relations named.

    The body is one query, or `{"queries": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the queries.
    """
    # By hand and not as a parameter: the size must be checked before the body is read, and one
    # bad query must not refuse the others.
    body = await read_json(request, service.settings.max_body_bytes)
    if isinstance(body, dict) and "queries" in body:
        answers, timing = await service.complete_many(_queries(body))
        content = await to_thread.run_sync(_results, answers, request.state.request_id)
    else:
        answer, timing = await service.complete(body)
        content = await to_thread.run_sync(_result, answer)
    return Response(
        content, media_type="application/json", headers={"Server-Timing": _server_timing(timing)}
    )


def _queries(body: dict[str, Any]) -> list[object]:
    faults = [
        FieldFault((name,), "there is no such field beside queries; put it into each query")
        for name in body
        if name != "queries"
    ]
    if not isinstance(body["queries"], list):
        faults.append(FieldFault(("queries",), "it must be a list of queries"))
    if faults:
        raise RequestError(tuple(faults))
    queries: list[object] = body["queries"]
    return queries


def _result(answer: CompletionAnswer) -> bytes:
    return encode_json(answer.model_dump(mode="json"))


def _results(answers: Sequence[CompletionAnswer | Exception], request_id: str) -> bytes:
    results = []
    for answer in answers:
        if isinstance(answer, CompletionAnswer):
            results.append(answer.model_dump(mode="json"))
            continue
        problem = problem_of(answer)
        if problem.status == INTERNAL_ERROR.status:
            logger.error("a query of request %s failed", request_id, exc_info=answer)
        results.append(problem.content())
    return encode_json({"results": results})


def _server_timing(timing: Timing) -> str:
    return ", ".join(
        f"{name};dur={seconds * 1000:.2f}"
        for name, seconds in (
            ("queue", timing.queue),
            ("tokenize", timing.tokenize),
            ("infer", timing.infer),
        )
    )
