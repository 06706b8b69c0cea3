"""The endpoints, one file for each thing they are about."""

from fastapi import APIRouter

from app.routes import (
    choices,
    completion,
    health,
    info,
    knowledge,
    links,
    masks,
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
OPEN_ROUTERS: tuple[APIRouter, ...] = (health.router,)

__all__ = ["OPEN_ROUTERS", "ROUTERS"]
