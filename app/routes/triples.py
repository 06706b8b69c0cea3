"""Scoring triples."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.problems import documented
from app.readiness import ReadyService
from app.routes.asking import ASKING_PROBLEMS, answer, request_body
from app.schemas.common import one_or_many
from app.schemas.link_examples import TRIPLE_EXAMPLES
from app.schemas.triples import TripleAnswer, TripleQuery, TripleResults

router = APIRouter(tags=["links"])


@router.post(
    "/triples/score",
    response_model=TripleAnswer | TripleResults,
    responses=documented(*ASKING_PROBLEMS),
    openapi_extra=request_body(
        one_or_many(TripleQuery, "triples", "TripleQueries"), TRIPLE_EXAMPLES
    ),
)
async def score_triple(request: Request, service: ReadyService) -> Response:
    """Say how plausible a triple is, under the masks of the relations named.

    The body is one triple, or `{"triples": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the triples.
    """
    return await answer(request, service, service.features.triples)
