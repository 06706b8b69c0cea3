"""A busy server: it refuses what it cannot hold, and finishes what it took."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def slow_server(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    """One query at a time, so that a request of many takes a while."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--token-budget", "1", "--queue-size", "2000", "--max-queries", "2000",
        "--mask-cache-bytes", "0",
    )  # fmt: skip


def _many(count: int) -> dict[str, Any]:
    query = {"subject": "dog " * 30, "relation": "IsA", "top_k": 3}
    return {"queries": [query] * count}


def _post(server: Any, body: dict[str, Any]) -> httpx.Response:
    response: httpx.Response = server.client.post("/complete", json=body)
    return response


def _post_until_accepted(server: Any, body: dict[str, Any]) -> httpx.Response:
    # What looks whether this has come yet may hold the place that it needs.
    while (response := _post(server, body)).status_code == 429:
        pass
    return response


def test_over_the_queue_single_and_many_are_refused_at_once(slow_server: Any) -> None:
    single = {"subject": "dog", "relation": "IsA"}
    with ThreadPoolExecutor(1) as pool:
        full = pool.submit(_post_until_accepted, slow_server, _many(2000))
        refusals: list[httpx.Response] = []
        while len(refusals) < 4 and not full.done():
            responses = [_post(slow_server, single), _post(slow_server, _many(2))]
            refusals += [response for response in responses if response.status_code == 429]
        assert not full.done(), "the refusals waited for the queue"
    assert full.result().status_code == 200
    assert len(full.result().json()["results"]) == 2000
    for response in refusals:
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "urn:relata:problem:overloaded"
    assert _post(slow_server, single).status_code == 200


def test_at_sigterm_what_was_accepted_is_answered(slow_server: Any) -> None:
    # Queries that are refused at once, but need places of the queue for as long.
    probe = {"queries": [{}] * 801}
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(_post_until_accepted, slow_server, _many(1200))
        while _post(slow_server, probe).status_code != 429:
            assert not accepted.done()
        assert not accepted.done()
        code = slow_server.stop()
        response = accepted.result()
    assert response.status_code == 200
    results = response.json()["results"]
    assert len(results) == 1200
    assert all(len(result["completions"]) == 3 for result in results)
    assert code == 0
    assert "Traceback" not in slow_server.log.read_text()
    with pytest.raises(httpx.TransportError):
        slow_server.client.get("/health")
