"""What Prometheus reads."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.metrics import Metrics

router = APIRouter(tags=["service"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "The metrics.", "content": {"text/plain": {}}}},
)
def metrics(request: Request) -> Response:
    """Metrics in Prometheus' text format, or as OpenMetrics where that is accepted."""
    metrics: Metrics = request.app.state.metrics
    content, media_type = metrics.expose(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type})
