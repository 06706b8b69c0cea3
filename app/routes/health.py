"""Is it alive, is it ready, and where to start reading."""

from fastapi import APIRouter
from starlette.responses import RedirectResponse

from app.problems import NOT_READY, documented
from app.readiness import AnyReadiness
from app.schemas.info import Alive, Ready

router = APIRouter(tags=["service"])


@router.get("/health")
async def health() -> Alive:
    """The process answers; always 200. Restart it if this fails."""
    return Alive()


@router.get("/ready", responses=documented(NOT_READY))
async def ready(readiness: AnyReadiness) -> Ready:
    """Model and masks are loaded and a first query was answered. Send requests while it is so."""
    readiness.check_ready()
    return Ready()


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """To the interactive documentation."""
    return RedirectResponse("/docs")
