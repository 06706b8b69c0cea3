"""The OpenAPI document: FastAPI's, with what it gets wrong put right."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app.problems import MEDIA_TYPE
from app.routes import ROUTERS
from app.schemas.problem import Problem

# What FastAPI says of its own validation, which `app.problems` words differently.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


def document(app: FastAPI) -> None:
    """Make `app.openapi` (and so /docs) say what the application does."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            _add_problem(schema)
            _remove_validation(schema)
            _restore_extras(schema, (route for router in ROUTERS for route in router.routes))
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def _add_problem(schema: dict[str, Any]) -> None:
    """The schema that `app.problems.documented` points to."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    if "Problem" not in schemas:
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= problem.pop("$defs", {})
        schemas["Problem"] = problem


def _remove_validation(schema: dict[str, Any]) -> None:
    for methods in schema["paths"].values():
        for operation in methods.values():
            response = operation["responses"].get("422", {})
            if response and MEDIA_TYPE not in response["content"]:
                del operation["responses"]["422"]
    for name in _NOT_OURS:
        schema["components"]["schemas"].pop(name, None)


def _restore_extras(schema: dict[str, Any], routes: Iterable[BaseRoute]) -> None:
    """FastAPI drops every null, those in examples too, which then say something else."""
    for route in routes:
        if isinstance(route, APIRoute) and route.openapi_extra:
            for method in route.methods or ():
                schema["paths"][route.path_format][method.lower()] |= route.openapi_extra
