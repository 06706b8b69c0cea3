"""The endpoints, one file for each thing they are about."""

from fastapi import APIRouter

from app.routes import completion, health, info, masks, relations

ROUTERS: tuple[APIRouter, ...] = (
    completion.router,
    relations.router,
    masks.router,
    info.router,
    health.router,
)

__all__ = ["ROUTERS"]
