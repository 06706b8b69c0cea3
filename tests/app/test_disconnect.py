"""Clients that go away: their work leaves the queue, and nobody else notices."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.raw_http import RawConnection, post
from tests.app.scraping import value, wait_until

SINGLE = {"subject": "dog", "relation": "IsA"}


@pytest.fixture(scope="module")
def slow_server(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    """One query at a time, so that a request of many takes seconds; answers are cached."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--token-budget", "1", "--queue-size", "2000", "--max-queries", "1500",
        "--mask-cache-bytes", "0",
    )  # fmt: skip


@pytest.fixture
def slow(slow_server: Any) -> httpx.Client:
    client: httpx.Client = slow_server.client
    return client


def _many(seed: int, count: int = 1500) -> bytes:
    """Queries that differ, so that no answer is known before."""
    words = ["dog", "cat", "bird", "knife", "house", "tree", "car", "paper", "water", "stone"]
    queries = []
    for number in range(seed * count, (seed + 1) * count):
        chosen = [words[int(digit)] for digit in f"{number:08d}"]
        queries.append({"subject": " ".join(chosen * 3), "relation": "IsA", "top_k": 3})
    return json.dumps({"queries": queries}).encode()


def _cancelled(client: httpx.Client) -> float:
    return value(client, "relata_cancelled_total")


def _idle(client: httpx.Client) -> bool:
    queue = ("relata_queue_questions", "relata_queue_rows")
    return all(value(client, name) == 0 for name in queue)


def _busy(client: httpx.Client) -> bool:
    return value(client, "relata_queue_rows") > 100


def test_the_work_of_a_client_that_goes_away_leaves_the_queue(
    slow_server: Any, slow: httpx.Client
) -> None:
    before = _cancelled(slow)
    with RawConnection.open(slow_server.url) as connection:
        connection.post("/complete", _many(0))
        wait_until(lambda: _busy(slow), "the model is busy")
    wait_until(lambda: _cancelled(slow) == before + 1, "it is counted", 5)
    wait_until(lambda: _idle(slow), "the queue is empty", 5)
    assert value(slow, "relata_requests_total", route="/complete", method="POST", status="499") == 1
    assert slow.post("/complete", json=SINGLE).status_code == 200
    lines = [line for line in slow_server.log.read_text().splitlines() if " 499 " in line]
    assert len(lines) == 1
    assert re.search(r"POST /complete 499 [\d.]+ ms \[[0-9a-f]{32}\]$", lines[0])


def test_others_who_ask_the_same_get_their_answer(slow_server: Any, slow: httpx.Client) -> None:
    body = _many(1, 600)
    with RawConnection.open(slow_server.url) as stays, RawConnection.open(slow_server.url) as goes:
        goes.post("/complete", body)
        wait_until(lambda: _busy(slow), "the model is busy")
        stays.post("/complete", body)
        wait_until(lambda: value(slow, "relata_queue_questions") == 1200, "both are accepted")
        goes.socket.close()
        answer = stays.answer()
    assert answer.status == 200
    results = json.loads(answer.body)["results"]
    assert all(len(result["completions"]) == 3 for result in results)
    wait_until(lambda: _idle(slow), "the queue is empty", 5)


def test_many_who_go_away_at_once(slow_server: Any, slow: httpx.Client) -> None:
    before = _cancelled(slow)
    connections = [RawConnection.open(slow_server.url) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.post("/complete", _many(1000 + number, 75))
    wait_until(lambda: value(slow, "relata_queue_questions") == 1500, "all are accepted")
    for connection in connections:
        connection.socket.close()
    wait_until(lambda: _cancelled(slow) == before + 20, "all are counted", 10)
    wait_until(lambda: _idle(slow), "the queue is empty", 5)
    assert slow.post("/complete", json=SINGLE).status_code == 200


def test_a_client_that_goes_away_within_its_body(slow_server: Any, slow: httpx.Client) -> None:
    before = _cancelled(slow)
    with RawConnection.open(slow_server.url) as connection:
        connection.send(post("/complete", b"x" * 100)[:-50])
        wait_until(lambda: _idle(slow), "the queue is empty")
    wait_until(lambda: _cancelled(slow) == before + 1, "it is counted", 5)
    assert slow.post("/complete", json=SINGLE).status_code == 200


def test_nothing_of_it_is_an_error_of_the_server(slow_server: Any) -> None:
    log = slow_server.log.read_text()
    assert "Traceback" not in log
    assert "never retrieved" not in log
    assert " ERROR " not in log
