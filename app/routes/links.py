"""Predicting links."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.problems import TOO_MANY_CANDIDATES, UNKNOWN_KNOWLEDGE, documented
from app.readiness import ReadyService
from app.routes.asking import ASKING_PROBLEMS, answer, request_body
from app.schemas.common import one_or_many
from app.schemas.link_examples import LINK_EXAMPLES
from app.schemas.links import LinkAnswer, LinkQuery, LinkResults

router = APIRouter(tags=["links"])


@router.post(
    "/predict_links",
    response_model=LinkAnswer | LinkResults,
    responses=documented(*ASKING_PROBLEMS, UNKNOWN_KNOWLEDGE, TOO_MANY_CANDIDATES),
    openapi_extra=request_body(one_or_many(LinkQuery, "queries", "LinkQueries"), LINK_EXAMPLES),
)
async def predict_links(request: Request, service: ReadyService) -> Response:
    """Rank candidate objects for `<subject, relation, ?>`, or subjects for `<?, relation, object>`.

    The body is one query, or `{"queries": [...]}` for many at once; then each result is an
    answer, or a problem of its own with its `status`, in the order of the queries, and `metrics`
    are the means over all truths that the queries name.
    """
    return await answer(request, service, service.features.links)
