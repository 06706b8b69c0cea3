"""A busy server: it refuses what it cannot hold, and finishes what it took."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest


@pytest.fixture(scope="module")
def slow_server(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    """One query at a time, so that a request of many takes a while."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--token-budget", "1", "--queue-size", "500", "--max-queries", "500",
        "--mask-cache-bytes", "0",
    )  # fmt: skip


def _many(count: int) -> dict[str, Any]:
    query = {"subject": "dog " * 30, "relation": "IsA", "top_k": 3}
    return {"queries": [query] * count}


def test_over_the_queue_single_and_many_are_refused_at_once(slow_server: Any) -> None:
    def post(body: dict[str, Any]) -> httpx.Response:
        response: httpx.Response = slow_server.client.post("/complete", json=body)
        return response

    single = {"subject": "dog", "relation": "IsA"}
    sent = Event()

    def fill() -> httpx.Response:
        sent.set()
        return post(_many(500))

    with ThreadPoolExecutor(1) as pool:
        full = pool.submit(fill)
        assert sent.wait(60)
        refusals = []
        while not full.done() and len(refusals) < 4:
            refusals += [
                response
                for response in (post(single), post(_many(2)))
                if response.status_code == 429
            ]
        assert not full.done(), "the refusals waited for the queue"
        assert full.result().status_code == 200
    assert len(full.result().json()["results"]) == 500
    assert len(refusals) >= 2
    for response in refusals:
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "urn:relata:problem:overloaded"
    assert post(single).status_code == 200


def test_at_sigterm_what_was_accepted_is_answered(slow_server: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(slow_server.client.post, "/complete", json=_many(499))
        # Room for one more, until the 499 have come.
        probe = {"queries": _many(2)["queries"]}
        while slow_server.client.post("/complete", json=probe).status_code != 429:
            assert not accepted.done()
        assert not accepted.done()
        code = slow_server.stop()
        response = accepted.result()
    assert response.status_code == 200
    results = response.json()["results"]
    assert len(results) == 499
    assert all(len(result["completions"]) == 3 for result in results)
    assert code == 0
    assert "Traceback" not in slow_server.log.read_text()
    with pytest.raises(httpx.TransportError):
        slow_server.client.get("/health")
