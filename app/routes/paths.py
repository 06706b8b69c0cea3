"""Following relations over several hops."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.problems import documented
from app.readiness import ReadyService
from app.routes.asking import ASKING_PROBLEMS, answer, request_body
from app.schemas.common import one_or_many
from app.schemas.link_examples import PATH_EXAMPLES
from app.schemas.paths import PathAnswer, PathQuery, PathResults

router = APIRouter(tags=["links"])


@router.post(
    "/paths",
    response_model=PathAnswer | PathResults,
    responses=documented(*ASKING_PROBLEMS),
    openapi_extra=request_body(one_or_many(PathQuery, "queries", "PathQueries"), PATH_EXAMPLES),
)
async def paths(request: Request, service: ReadyService) -> Response:
    """Find objects two to four relations away from a subject, each with its derivation.

    The body is one query, or `{"queries": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the queries.
    """
    return await answer(request, service, service.features.paths)
