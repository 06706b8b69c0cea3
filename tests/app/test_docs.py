"""The documentation says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.problems import PROBLEM_TYPES
from app.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "api.md").read_text()


@pytest.mark.parametrize("kind", PROBLEM_TYPES, ids=lambda kind: kind.name)
def test_every_problem_type_is_documented_with_its_status(kind: Any) -> None:
    assert f"| `{kind.uri}` | {kind.status} |" in TEXT


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `RELATA_{name.upper()}` |" in (DOCS / "operations.md").read_text()


def test_every_request_of_the_text_runs(client: httpx.Client) -> None:
    bodies = re.findall(r"curl [^\n]*/complete[^\n]*\\\n(?:[^\n]*\\\n)*\s+-d '(.*?)'\n", TEXT, re.S)
    assert len(bodies) >= 5
    for body in bodies:
        response = client.post("/complete", json=json.loads(body))
        assert response.status_code == 200, (body, response.text)


def test_every_endpoint_is_documented(client: httpx.Client) -> None:
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in TEXT
