"""The base and the pack that are shipped, served as they come."""

from typing import Any

import pytest

from app.schemas.examples import COMPLETE_EXAMPLES

pytestmark = pytest.mark.shipped


def test_all_relations_of_the_pack_are_served(shipped_server: Any) -> None:
    relations = shipped_server.client.get("/relations").json()["relations"]
    assert len(relations) == 16
    assert shipped_server.client.get("/masks").json()["refused"] == []


def test_every_documented_example_is_answered(shipped_server: Any) -> None:
    for name, example in COMPLETE_EXAMPLES.items():
        response = shipped_server.client.post("/complete", json=example["value"])
        assert response.status_code == 200, (name, response.text)
        for answer in response.json().get("results", [response.json()]):
            assert answer["completions"], name


def test_every_relation_answers_under_its_mask(shipped_server: Any) -> None:
    client = shipped_server.client
    for relation in client.get("/relations").json()["relations"]:
        query = {"subject": "dog", "relation": relation["name"]}
        masked = client.post("/complete", json=query).json()
        assert masked["mask"]["digest"] == relation["digest"]
        unmasked = client.post("/complete", json=query | {"masked": False}).json()
        assert masked["completions"] != unmasked["completions"]
