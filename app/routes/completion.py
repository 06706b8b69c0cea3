"""Completing sentences."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.problems import documented
from app.readiness import ReadyService
from app.routes.asking import ASKING_PROBLEMS, answer, request_body
from app.schemas.common import one_or_many
from app.schemas.completion import CompletionAnswer, CompletionQuery, CompletionResults
from app.schemas.examples import COMPLETE_EXAMPLES

router = APIRouter(tags=["completion"])


@router.post(
    "/complete",
    response_model=CompletionAnswer | CompletionResults,
    responses=documented(*ASKING_PROBLEMS),
    openapi_extra=request_body(
        one_or_many(CompletionQuery, "queries", "CompletionQueries"), COMPLETE_EXAMPLES
    ),
)
async def complete(request: Request, service: ReadyService) -> Response:
    """Rank the objects that complete a sentence, under the masks of the relations named.

    The body is one query, or `{"queries": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the queries.
    """
    return await answer(request, service, service.features.completion)
