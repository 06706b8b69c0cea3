"""Pages of other origins: which may ask, and what they see."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.errors import SettingsError
from app.main import create_app
from app.settings import Settings, load_settings

PAGE = "https://example.org"
KEY = "a-key-of-some-length"


def _send(app: FastAPI, method: str, path: str, **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=named)

    return asyncio.run(send())


def _app(**settings: Any) -> FastAPI:
    return create_app(load_settings({"api_key": KEY, **settings}))


def _preflight(app: FastAPI, origin: str, method: str, *headers: str) -> httpx.Response:
    return _send(
        app, "OPTIONS", "/complete", origin=origin,
        access_control_request_method=method,
        access_control_request_headers=", ".join(headers),
    )  # fmt: skip


def test_without_a_setting_no_page_may_ask() -> None:
    app = _app()
    assert "access-control-allow-origin" not in _send(app, "GET", "/health", origin=PAGE).headers
    assert _preflight(app, PAGE, "POST", "content-type").status_code == 405


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_page_may_ask_whether_it_may_ask_without_a_key(method: str) -> None:
    app = _app(cors_origins=f"{PAGE},http://localhost:3000")
    wanted = ("authorization", "content-type", "if-match", "x-api-key", "x-request-timeout")
    for origin in (PAGE, "http://localhost:3000"):
        response = _preflight(app, origin, method, *wanted)
        assert response.status_code == 200, response.text
        assert response.headers["access-control-allow-origin"] == origin
        assert method in response.headers["access-control-allow-methods"]
        allowed = response.headers["access-control-allow-headers"].lower()
        assert all(name in allowed for name in wanted)
        assert "access-control-allow-credentials" not in response.headers


def test_another_page_may_not() -> None:
    app = _app(cors_origins=PAGE)
    for origin in ("https://example.com", "http://example.org", f"{PAGE}:8443", "null"):
        assert _preflight(app, origin, "POST", "content-type").status_code == 400
        response = _send(app, "GET", "/health", origin=origin)
        assert "access-control-allow-origin" not in response.headers
    assert _preflight(app, PAGE, "PATCH", "content-type").status_code == 400
    assert _preflight(app, PAGE, "POST", "x-something").status_code == 400


def test_a_page_sees_what_matters_of_any_answer() -> None:
    app = _app(cors_origins=PAGE)
    ready = _send(app, "GET", "/ready", origin=PAGE)
    refused = _send(app, "GET", "/info", origin=PAGE)
    assert (ready.status_code, refused.status_code) == (503, 401)
    for response in (ready, refused):
        assert response.headers["access-control-allow-origin"] == PAGE
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert {"X-Request-ID", "Server-Timing", "Retry-After", "ETag"} <= set(exposed)
        assert "origin" in response.headers["vary"].lower()


def test_every_page_may_ask_if_so_set() -> None:
    app = _app(cors_origins="*")
    response = _preflight(app, "https://any.example", "POST", "x-api-key")
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "value",
    [
        "example.org",
        "https://example.org/",
        "https://example.org/page",
        "https://Example.org",
        "https://example.org:443",
        "http://localhost:80",
        "https://user@example.org",
        "https://example.org?x",
        "https://",
        "null",
        "https://[::1",
    ],
)
def test_what_no_browser_sends_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match="RELATA_CORS_ORIGINS"):
        load_settings({"cors_origins": value})


def test_origins_are_a_list() -> None:
    assert Settings().cors_origins == ()
    given = "https://a.example, http://[::1]:3000"
    assert load_settings({"cors_origins": given}).cors_origins == tuple(given.split(", "))
