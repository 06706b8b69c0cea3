"""The documentation that a server gives of itself: right, and there without the internet."""

import re
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.shipped


@pytest.fixture(scope="module")
def schema(shipped_server: Any) -> dict[str, Any]:
    schema: dict[str, Any] = shipped_server.client.get("/openapi.json").json()
    return schema


def _examples() -> list[Any]:
    """Every example of every POST, as a server without a model documents them, too."""
    found = []
    for path, methods in create_app(Settings()).openapi()["paths"].items():
        if "post" in methods:
            content = methods["post"]["requestBody"]["content"]["application/json"]
            found += [pytest.param(path, name, id=f"{path} {name}") for name in content["examples"]]
    return found


EXAMPLES = _examples()


def test_every_question_has_examples(schema: dict[str, Any]) -> None:
    asked = {path for path, methods in schema["paths"].items() if "post" in methods}
    assert len(asked) >= 5
    assert {parameters.values[0] for parameters in EXAMPLES} == asked


@pytest.mark.parametrize(("path", "name"), EXAMPLES)
def test_every_example_runs_as_pasted(
    shipped_server: Any, schema: dict[str, Any], path: str, name: str
) -> None:
    body = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    response = shipped_server.client.post(path, json=body["examples"][name]["value"])
    assert response.status_code == 200, response.text
    answer = response.json()
    for result in answer.get("results", [answer]):
        # A problem in a result would not be an answer.
        assert "status" not in result, result
        assert result["base"]["name"] == "minilm-l6-mlm"


def test_the_interactive_documentation_needs_no_other_machine(shipped_server: Any) -> None:
    client = shipped_server.client
    page = client.get("/docs")
    assert page.status_code == 200
    addresses = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", page.text)
    assert len(addresses) == 4
    kinds = {}
    for address in addresses:
        assert "//" not in address
        asset = client.get(f"/{address}")
        assert asset.status_code == 200, address
        kinds[address] = asset.headers["content-type"].partition(";")[0]
    assert kinds == {
        "docs/swagger-ui-bundle.js": "text/javascript",
        "docs/swagger-ui.css": "text/css",
        "docs/favicon.png": "image/png",
        "openapi.json": "application/json",
    }
    assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text
    assert not re.search("https?://", page.text)


@pytest.mark.parametrize("asset", ["redoc.standalone.js", "core.py", "..%2Fcore.py", "%2Fetc"])
def test_nothing_else_of_that_package_is_served(shipped_server: Any, asset: str) -> None:
    assert shipped_server.client.get(f"/docs/{asset}").status_code in (404, 422)


def test_the_keys_can_be_entered(schema: dict[str, Any]) -> None:
    schemes = schema["components"]["securitySchemes"]
    assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
    assert schema["paths"]["/complete"]["post"]["security"] == [{name: []} for name in schemes]


def test_the_deadline_is_documented(schema: dict[str, Any]) -> None:
    for path, methods in schema["paths"].items():
        if "post" in methods:
            names = [parameter["name"] for parameter in methods["post"]["parameters"]]
            assert "X-Request-Timeout" in names, path
            for status in ("401", "429", "503", "504"):
                assert status in methods["post"]["responses"], (path, status)
