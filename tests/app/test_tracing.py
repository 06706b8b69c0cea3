"""What happens to an error that nobody foresaw."""

import asyncio
import logging
import re

import httpx
import pytest
from fastapi import FastAPI, Response

from app.logs import note_request
from app.metrics import Metrics
from app.problems import add_error_handlers
from app.readiness import Readiness
from app.tracing import RequestTracing, _request_id


def _get(path: str) -> httpx.Response:
    app = FastAPI()
    add_error_handlers(app)
    app.add_middleware(RequestTracing, metrics=Metrics(), readiness=Readiness())

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("the secret of the house")

    @app.get("/numbers/{number}")
    async def numbers(number: int) -> int:
        return number

    @app.get("/full")
    async def full() -> Response:
        return Response(status_code=429)

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"x-request-id": "trace-7"})

    return asyncio.run(get())


def test_a_crash_is_a_problem_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(note_request)
    with caplog.at_level(logging.INFO):
        response = _get("/fails")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "trace-7"
    problem = response.json()
    assert problem["type"] == "urn:relata:problem:internal-error"
    assert problem["request_id"] == "trace-7"
    assert "secret" not in response.text
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.request_id == "trace-7"
    assert "secret" in str(record.exc_info)


def test_what_the_framework_validates_is_a_problem_too() -> None:
    response = _get("/numbers/seven")
    assert response.status_code == 422
    assert response.json()["type"] == "urn:relata:problem:invalid-request"
    assert response.json()["errors"][0]["pointer"] == "#/path/number"


def test_each_request_leaves_a_line_with_its_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(note_request)
    with caplog.at_level(logging.INFO):
        _get("/numbers/7")
    (record,) = [record for record in caplog.records if record.name == "app.tracing"]
    assert record.getMessage().startswith("GET /numbers/7 200 ")
    assert (record.method, record.path, record.status) == ("GET", "/numbers/7", 200)
    assert record.request_id == "trace-7"


def test_a_refusal_for_want_of_room_leaves_a_line_only_when_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert _get("/full").status_code == 429
    (record,) = [record for record in caplog.records if record.name == "app.tracing"]
    assert (record.status, record.levelno) == (429, logging.DEBUG)


def test_each_request_gets_an_id_of_its_own() -> None:
    first, second = (_request_id({"headers": []}) for _ in range(2))
    assert first != second
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert _request_id({"headers": [(b"x-request-id", b"mine")]}) == "mine"
