"""The endpoints, one file for each thing they are about."""

from fastapi import APIRouter
from fastapi.routing import APIRoute

from app.routes import (
    choices,
    completion,
    documentation,
    health,
    info,
    knowledge,
    links,
    masks,
    metrics,
    paths,
    relations,
    triples,
)

# Where there is an API key, these ask for it.
ROUTERS: tuple[APIRouter, ...] = (
    completion.router,
    links.router,
    triples.router,
    paths.router,
    choices.router,
    relations.router,
    knowledge.router,
    masks.router,
    info.router,
)
# Answered without a key.
OPEN_ROUTERS: tuple[APIRouter, ...] = (health.router, metrics.router, documentation.router)

__all__ = ["OPEN_ROUTERS", "ROUTERS", "question_paths"]


def question_paths() -> frozenset[str]:
    """The paths where questions are asked: all that take POST."""
    return frozenset(
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    )
