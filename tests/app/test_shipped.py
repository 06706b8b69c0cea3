"""The base and the pack that are shipped, served as they come."""

from typing import Any

import pytest
import torch

from app.schemas.examples import COMPLETE_EXAMPLES
from plm.native import blocked_kernel

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


def test_reduced_types_are_served_where_the_processor_has_them(
    shipped_server: Any, start_server: Any
) -> None:
    blocks = blocked_kernel()
    if blocks is None or torch.int8 not in blocks.dtypes:
        pytest.skip("this processor has no products in int8")
    server = start_server("--dtype", "int8")
    assert server.client.get("/info").json()["dtype"] == "int8"
    queries = [
        {"subject": subject, "relation": relation["name"]}
        for relation in server.client.get("/relations").json()["relations"]
        for subject in ("dog", "hammer", "rain")
    ]
    first = []
    for client in (shipped_server.client, server.client):
        results = client.post("/complete", json={"queries": queries}).json()["results"]
        first.append([result["completions"][0]["object"] for result in results])
    same = [one == other for one, other in zip(*first, strict=True)]
    assert sum(same) > 0.8 * len(same)
