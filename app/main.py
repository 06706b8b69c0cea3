"""The application factory."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from anyio import to_thread
from fastapi import FastAPI

from app.access import Access, KeyNeeded
from app.memory import return_freed
from app.openapi import document
from app.problems import add_error_handlers
from app.readiness import Readiness
from app.routes import OPEN_ROUTERS, ROUTERS
from app.service import Service
from app.settings import Settings
from app.tracing import RequestTracing
from app.version import relata_version

logger = logging.getLogger(__name__)

_DESCRIPTION = """
One masked language model, specialised per request: a relation names the mask under which it
answers. Errors are problem details (RFC 9457) with a stable `type`.
"""


def create_app(
    settings: Settings, *, on_failure: Callable[[Exception], None] | None = None
) -> FastAPI:
    """The application. It answers `/health` at once and loads the model meanwhile.

    `on_failure` gets the error if loading fails; without it the application stays not ready.
    """
    readiness = Readiness()

    async def load() -> None:
        try:
            service = await to_thread.run_sync(_load, settings, abandon_on_cancel=True)
            await service.hot_masks.open()
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(error)
            return
        readiness.service = service
        logger.info("ready")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        readiness.stopping = True
        loading.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await loading
        if readiness.service is not None:
            await readiness.service.hot_masks.close()
            await to_thread.run_sync(readiness.service.close)

    app = FastAPI(
        title="Relata",
        version=relata_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.readiness = readiness
    app.state.access = Access.of(settings)
    for router in ROUTERS:
        app.include_router(router, dependencies=[KeyNeeded])
    for router in OPEN_ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    app.add_middleware(RequestTracing)
    document(app)
    return app


def _load(settings: Settings) -> Service:
    service = Service.load(settings)
    service.warm_up()
    return_freed()
    return service
