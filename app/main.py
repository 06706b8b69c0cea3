"""The application factory."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from anyio import to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.access import HEADER as KEY_HEADER
from app.access import Access, KeyNeeded
from app.cache.status import HEADER as CACHE_HEADER
from app.closing import ConnectionClosing
from app.door import Door
from app.memory import keep_objects, return_freed
from app.metrics import Metrics
from app.openapi import document
from app.problems import UNAUTHORIZED, add_error_handlers, documented
from app.readiness import Readiness
from app.routes import OPEN_ROUTERS, ROUTERS, question_paths
from app.routes.asking import TIMEOUT_HEADER
from app.service import Service
from app.settings import Settings
from app.tracing import HEADER as REQUEST_HEADER
from app.tracing import RequestTracing
from app.version import relata_version

logger = logging.getLogger(__name__)

_DESCRIPTION = """
One masked language model, specialised per request: a relation names the mask under which it
answers. Errors are problem details (RFC 9457) with a stable `type`.
"""

# What pages of other origins may send and see, where they may ask at all.
_CORS_METHODS = ("GET", "POST", "PUT", "DELETE")
_CORS_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    KEY_HEADER,
    REQUEST_HEADER,
    TIMEOUT_HEADER,
)
_CORS_EXPOSED = (
    CACHE_HEADER,
    "ETag",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    REQUEST_HEADER,
)


def create_app(
    settings: Settings, *, on_failure: Callable[[Exception], None] | None = None
) -> FastAPI:
    """The application. It answers `/health` at once and loads the model meanwhile.

    `on_failure` gets the error if loading fails; without it the application stays not ready.
    """
    readiness = Readiness()
    metrics = Metrics()

    async def load() -> None:
        try:
            service = await to_thread.run_sync(_load, settings, metrics, abandon_on_cancel=True)
            await service.hot_masks.open()
            await service.inference.connect()
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(error)
            return
        metrics.watch(service)
        readiness.service = service
        logger.info("ready")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load())
        yield
        readiness.draining = readiness.stopping = True
        loading.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await loading
        if readiness.service is not None:
            await readiness.service.hot_masks.close()
            await to_thread.run_sync(readiness.service.close)
            await readiness.service.inference.disconnect()

    app = FastAPI(
        title="Relata",
        version=relata_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.readiness = readiness
    app.state.metrics = metrics
    app.state.access = Access.of(settings)
    for router in ROUTERS:
        app.include_router(router, dependencies=[KeyNeeded], responses=documented(UNAUTHORIZED))
    for router in OPEN_ROUTERS:
        app.include_router(router)
    add_error_handlers(app)
    # Added from the innermost to the outermost.
    app.add_middleware(Door, paths=question_paths(), readiness=readiness)
    app.add_middleware(RequestTracing, metrics=metrics, readiness=readiness)
    app.add_middleware(ConnectionClosing, readiness=readiness)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_CORS_METHODS,
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    document(app)
    return app


def _load(settings: Settings, metrics: Metrics) -> Service:
    service = Service.load(settings, metrics.record_pass)
    service.warm_up()
    keep_objects()
    return_freed()
    return service
