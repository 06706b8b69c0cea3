"""What can be read from a server, and its documentation."""

from typing import Any

import httpx
import pytest

from app.problems import PROBLEM_TYPES
from app.schemas.completion import CompletionAnswer
from masks import RelationMask
from plm import BaseModel


def _get(client: httpx.Client, path: str) -> dict[str, Any]:
    response = client.get(path)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def test_relations_are_listed_by_name(
    client: httpx.Client, relation_masks: dict[str, RelationMask]
) -> None:
    relations = _get(client, "/relations")["relations"]
    assert [relation["name"] for relation in relations] == sorted(relation_masks)
    is_a = next(relation for relation in relations if relation["name"] == "IsA")
    # Asked for alone a relation tells more; what the list says of it is the same.
    assert is_a.items() <= _get(client, "/relations/IsA").items()
    mask = relation_masks["IsA"]
    assert is_a == {
        "name": "IsA",
        "templates": ["A [X] is a [Y].", "[X] and [Y]."],
        "sparsity": pytest.approx(mask.sparsity),
        "validation": {"mrr": 0.25},
        "facts": {"train": 7, "validation": 2},
        "pack": "tiny",
        "digest": mask.digest,
    }


def test_mask_files_are_listed(
    client: httpx.Client, relation_masks: dict[str, RelationMask], pack_folder: Any
) -> None:
    listing = _get(client, "/masks")
    assert listing["refused"] == []
    assert len(listing["masks"]) == len(relation_masks)
    mask = next(mask for mask in listing["masks"] if mask["relation"] == "IsA")
    assert mask["digest"] == relation_masks["IsA"].digest
    assert mask["bytes"] == (pack_folder / "IsA.safetensors").stat().st_size
    assert mask["layers"] == [3, 4]
    assert mask["method"] == "deterministic"
    assert mask["seed"] == 0
    assert mask["pack"] == "tiny"


def test_info_says_what_runs(client: httpx.Client, base: BaseModel) -> None:
    info = _get(client, "/info")
    assert info["base"] == {
        "name": base.name,
        "digest": base.digest,
        "architecture": "bert",
        "layers": 4,
        "hidden_size": 32,
        "vocabulary": base.vocab_size,
        "max_tokens": 48,
        "mask_token": "[MASK]",
    }
    assert info["device"] == "cpu"
    assert info["dtype"] == "float32"
    assert info["threads"] == 1
    assert info["packs"] == [{"name": "tiny", "base_model": base.name, "relations": 16}]
    assert info["limits"]["queries"] == 64
    assert info["limits"]["body_bytes"] == 64 * 1024
    assert info["settings"]["max_queries"] == 64


def test_alive_and_ready_once_loaded(client: httpx.Client) -> None:
    assert _get(client, "/health") == {"status": "alive"}
    assert _get(client, "/ready") == {"status": "ready"}


def test_it_is_not_ready_while_it_loads(shipped_server: Any) -> None:
    # Of a base that takes more than a moment to load.
    first: httpx.Response = shipped_server.first_ready
    assert first.status_code == 503
    assert first.headers["content-type"] == "application/problem+json"
    assert first.json()["type"] == "urn:relata:problem:not-ready"
    assert first.headers["retry-after"] == "1"


def test_the_root_leads_to_the_documentation(client: httpx.Client) -> None:
    response = client.get("/")
    assert response.status_code == 307
    assert response.headers["location"] == "/docs"
    assert "swagger" in client.get("/docs").text.lower()


@pytest.fixture(scope="module")
def schema(client: httpx.Client) -> dict[str, Any]:
    return _get(client, "/openapi.json")


def test_every_documented_example_runs_as_pasted(
    client: httpx.Client, schema: dict[str, Any]
) -> None:
    body = schema["paths"]["/complete"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) >= 8
    for name, example in body["examples"].items():
        response = client.post("/complete", json=example["value"])
        assert response.status_code == 200, (name, response.text)
        answers = response.json().get("results", [response.json()])
        for answer in answers:
            # A problem in a result would not be an answer.
            CompletionAnswer.model_validate(answer)
            assert answer["completions"], name


def test_problems_are_documented(schema: dict[str, Any]) -> None:
    references: set[str] = set()
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status.startswith(("4", "5")):
                    assert list(response["content"]) == ["application/problem+json"], path
                    references.add(
                        response["content"]["application/problem+json"]["schema"]["$ref"]
                    )
    assert references == {"#/components/schemas/Problem"}
    described = str(schema["paths"])
    framework = {"not-found", "method-not-allowed"}
    for kind in PROBLEM_TYPES:
        assert kind.name in framework or kind.uri in described


def test_every_reference_of_the_schema_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    for reference in references(schema):
        place: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_the_documentation_needs_no_model() -> None:
    from app.main import create_app
    from app.settings import Settings

    assert "/complete" in create_app(Settings()).openapi()["paths"]
