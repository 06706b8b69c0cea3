"""Keys: who is let in where, and that no key shows anywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.access import Access
from app.errors import ForbiddenError, SettingsError, UnauthorizedError
from app.settings import Settings, load_settings

FIRST, SECOND = "first-of-the-api-keys", "second~of!the@api#keys"
ADMIN = "the-one-admin-key-0123456789"
WRONG = "neither-of-those-at-all"
SINGLE = {"subject": "dog", "relation": "IsA"}
OPEN = {"/health", "/ready", "/metrics"}


@pytest.fixture(scope="module")
def guarded(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        environment={"RELATA_API_KEY": f"{FIRST},{SECOND}", "RELATA_ADMIN_KEY": ADMIN},
    )  # fmt: skip


@pytest.fixture(scope="module")
def schema(guarded: Any) -> dict[str, Any]:
    response = guarded.client.get("/openapi.json")
    assert response.status_code == 200
    schema: dict[str, Any] = response.json()
    return schema


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _header(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


@pytest.mark.parametrize("key", [FIRST, SECOND, ADMIN])
@pytest.mark.parametrize("way", [_bearer, _header])
def test_each_key_is_good_for_questions(guarded: Any, key: str, way: Any) -> None:
    response = guarded.client.post("/complete", json=SINGLE, headers=way(key))
    assert response.status_code == 200, response.text
    assert guarded.client.get("/info", headers=way(key)).status_code == 200


def test_one_right_key_of_two_is_enough(guarded: Any) -> None:
    headers = _bearer(WRONG) | _header(FIRST)
    assert guarded.client.get("/info", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        _bearer(WRONG),
        _header(WRONG),
        _bearer(FIRST[:-1]),
        _bearer(FIRST + "x"),
        _header(FIRST.upper()),
        _header(f"{FIRST},{SECOND}"),
        {"Authorization": FIRST},
        {"Authorization": f"Basic {FIRST}"},
        {"Cookie": f"X-API-Key={FIRST}"},
    ],
)
def test_nothing_else_is(guarded: Any, headers: dict[str, str]) -> None:
    response = guarded.client.post("/complete", json=SINGLE, headers=headers)
    assert response.status_code == 401, response.text
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "urn:relata:problem:unauthorized"


def test_a_key_in_the_address_is_none(guarded: Any) -> None:
    # It would stand in logs and histories.
    response = guarded.client.get("/info", params={"X-API-Key": FIRST, "api_key": FIRST})
    assert response.status_code == 401


def test_a_key_is_asked_for_before_the_body_is_looked_at(guarded: Any) -> None:
    response = guarded.client.post("/complete", content=b"{", headers=_header(WRONG))
    assert response.status_code == 401


def test_every_endpoint_asks_for_a_key_unless_it_is_known_to_be_open(
    guarded: Any, schema: dict[str, Any]
) -> None:
    schemes = schema["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["key"]["name"] == "X-API-Key"
    closed = 0
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            address = path.replace("{relation}", "IsA")
            status = guarded.client.request(method, address).status_code
            if path in OPEN:
                assert (path, status) == (path, 200)
                assert "security" not in operation
            else:
                assert (method, path, status) == (method, path, 401)
                assert operation["security"] == [{"bearer": []}, {"key": []}]
                assert "401" in operation["responses"]
                closed += 1
    assert closed >= 8


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_the_documentation_is_open(guarded: Any, path: str) -> None:
    assert guarded.client.get(path).status_code == 200


CHANGES = [("PUT", "/masks/IsA"), ("DELETE", "/masks/NoSuchRelation")]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_changes_need_the_admin_key(guarded: Any, method: str, path: str) -> None:
    def status(headers: dict[str, str]) -> int:
        code: int = guarded.client.request(method, path, headers=headers, content=b"x").status_code
        return code

    assert status({}) == 401
    assert status(_bearer(WRONG)) == 401
    assert status(_bearer(FIRST)) == status(_header(SECOND)) == 403
    # Let in, and refused for what was asked for.
    assert status(_bearer(ADMIN)) == status(_header(ADMIN)) in (404, 422)


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_without_an_admin_key_nobody_changes_anything(
    client: httpx.Client, refused: Callable[..., Any], method: str, path: str
) -> None:
    for headers in ({}, _bearer(ADMIN)):
        response = client.request(method, path, headers=headers, content=b"x")
        problem = refused(response, 403, "forbidden")
        assert "RELATA_ADMIN_KEY is not set" in problem["detail"]


def test_without_an_api_key_everybody_may_ask(client: httpx.Client) -> None:
    for headers in ({}, _bearer(WRONG), _header("")):
        assert client.get("/info", headers=headers).status_code == 200


def test_no_key_shows_anywhere(guarded: Any) -> None:
    shown = [
        guarded.client.get("/info", headers=_header(FIRST)).text,
        guarded.client.get("/metrics").text,
        guarded.client.get("/openapi.json").text,
        guarded.client.get("/info", headers=_header(WRONG)).text,
        guarded.client.put("/masks/IsA", headers=_header(FIRST)).text,
        guarded.log.read_text(),
        repr(Access.of(Settings(api_key=FIRST, admin_key=ADMIN))),
        repr(Settings(api_key=FIRST, admin_key=ADMIN)),
    ]
    for text in shown:
        for key in (FIRST, SECOND, ADMIN, WRONG):
            assert key not in text
    settings = json.loads(shown[0])["settings"]
    assert settings["api_key"] == ["**********"] * 2
    assert settings["admin_key"] == "**********"


@pytest.mark.parametrize("name", ["api_key", "admin_key"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("short-key", "at least 16 characters, and one has 9"),
        ("a key that has spaces in it", "no space"),
        ("schlüssel-mit-umlaut", "ASCII"),
        ("sixteen-and-a-tab\t", "ASCII"),
    ],
)
def test_a_key_that_is_none_is_refused_at_the_start(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({name: value})
    message = str(caught.value)
    assert message.startswith(f"RELATA_{name.upper()} cannot be used")
    assert reason in message
    assert value.strip() not in message


@pytest.mark.parametrize("value", [f"{FIRST},", f",{FIRST}", f"{FIRST},,{SECOND}", f"{FIRST}, x"])
def test_every_key_of_a_list_is_checked(value: str) -> None:
    with pytest.raises(SettingsError, match="RELATA_API_KEY cannot be used"):
        load_settings({"api_key": value})


def test_the_admin_key_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="RELATA_ADMIN_KEY is one of RELATA_API_KEY") as caught:
        load_settings({"api_key": f"{FIRST},{SECOND}", "admin_key": SECOND})
    assert SECOND not in str(caught.value)


def test_an_empty_variable_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELATA_API_KEY", "")
    monkeypatch.setenv("RELATA_ADMIN_KEY", "")
    settings = load_settings()
    assert settings.api_key is None
    assert settings.admin_key is None


def test_what_each_key_is_good_for() -> None:
    access = Access.of(Settings(api_key=FIRST, admin_key=ADMIN))
    for given in ((FIRST,), (ADMIN,), (WRONG, FIRST)):
        access.check_key(given)
    access.check_admin((ADMIN,))
    with pytest.raises(ForbiddenError, match="needs the admin key"):
        access.check_admin((FIRST,))
    for given in ((), (WRONG,), ("",)):
        with pytest.raises(UnauthorizedError):
            access.check_key(given)
        with pytest.raises(UnauthorizedError):
            access.check_admin(given)
    only_admin = Access.of(Settings(admin_key=ADMIN))
    only_admin.check_key(())
    with pytest.raises(UnauthorizedError):
        only_admin.check_admin((WRONG,))
