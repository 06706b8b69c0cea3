"""Deadlines: a request is given up when its time is over, and its work leaves the queue."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.raw_http import RawConnection
from tests.app.scraping import value, wait_until

HEADER = "X-Request-Timeout"
SINGLE = {"subject": "dog", "relation": "IsA"}


@pytest.fixture(scope="module")
def slow_server(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    """One query at a time, so that a request of many takes seconds."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1", "--cache", "off",
        "--token-budget", "1", "--queue-size", "2000", "--max-queries", "1500",
        "--mask-cache-bytes", "0", "--request-timeout", "50", "--max-request-timeout", "60",
    )  # fmt: skip


@pytest.fixture
def slow(slow_server: Any) -> httpx.Client:
    client: httpx.Client = slow_server.client
    wait_until(lambda: _questions(client) == 0, "nothing is worked on")
    return client


def _questions(client: httpx.Client) -> float:
    return value(client, "relata_queue_questions")


def _rows(client: httpx.Client) -> float:
    return value(client, "relata_queue_rows")


def _deadlines(client: httpx.Client) -> float:
    return value(client, "relata_refusals_total", reason="deadline")


def _many(count: int) -> dict[str, Any]:
    return {"queries": [{"subject": "dog " * 30, "relation": "IsA", "top_k": 3}] * count}


def _check_given_up(response: httpx.Response, seconds: float) -> None:
    assert response.status_code == 504, response.text
    problem = response.json()
    assert problem["type"] == "urn:relata:problem:deadline-exceeded"
    assert problem["limit"] == seconds
    assert f"within {seconds:g} s" in problem["detail"]


def test_a_deadline_that_passes_in_the_queue(slow: httpx.Client) -> None:
    before = _deadlines(slow)
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(slow.post, "/complete", json=_many(800))
        wait_until(lambda: _rows(slow) > 100, "the model is busy")
        response = slow.post("/complete", json=SINGLE, headers={HEADER: "0.1"})
        assert not ahead.done()
        _check_given_up(response, 0.1)
        wait_until(lambda: _questions(slow) == 800, "it has left the queue", 5)
        assert not ahead.done()
    # What was ahead of it is whole.
    assert ahead.result().status_code == 200
    assert len(ahead.result().json()["results"]) == 800
    assert _deadlines(slow) == before + 1
    assert slow.post("/complete", json=SINGLE).status_code == 200


def test_a_deadline_that_passes_while_the_model_works(slow: httpx.Client) -> None:
    before = _deadlines(slow)
    started = time.monotonic()
    response = slow.post("/complete", json=_many(1500), headers={HEADER: "0.3"})
    _check_given_up(response, 0.3)
    assert time.monotonic() - started < 5
    wait_until(lambda: _questions(slow) == _rows(slow) == 0, "the queue is empty", 5)
    passes = value(slow, "relata_pass_rows_count")
    time.sleep(0.3)
    # One pass may have been under way.
    assert value(slow, "relata_pass_rows_count") <= passes + 1
    assert _deadlines(slow) == before + 1
    assert slow.post("/complete", json=SINGLE).status_code == 200


def test_each_request_has_a_deadline_of_its_own(slow: httpx.Client) -> None:
    with ThreadPoolExecutor(12) as pool:
        ahead = pool.submit(slow.post, "/complete", json=_many(800))
        wait_until(lambda: _rows(slow) > 100, "the model is busy")
        times = ["0.05", "60"] * 5
        requests = [
            pool.submit(slow.post, "/complete", json=SINGLE, headers={HEADER: seconds})
            for seconds in times
        ]
        statuses = [request.result().status_code for request in requests]
    assert statuses == [504, 200] * 5
    assert ahead.result().status_code == 200


def test_questions_that_were_given_up_have_failed(slow: httpx.Client) -> None:
    def failed() -> float:
        return value(slow, "relata_questions_total", kind="complete", outcome="failed")

    before = failed()
    _check_given_up(slow.post("/complete", json=_many(1500), headers={HEADER: "0.3"}), 0.3)
    assert failed() == before + 1500


def test_a_body_that_does_not_come_in_time_is_given_up(slow_server: Any) -> None:
    whole = json.dumps(SINGLE).encode()
    with RawConnection.open(slow_server.url) as connection:
        head = f"POST /complete HTTP/1.1\r\nHost: test\r\nContent-Length: {len(whole)}\r\n"
        connection.send(f"{head}Content-Type: application/json\r\n{HEADER}: 0.5\r\n\r\n".encode())
        started = time.monotonic()
        for byte in whole[:6]:
            connection.send(bytes([byte]))
            time.sleep(0.1)
        answer = connection.answer()
        assert answer.status == 504
        assert time.monotonic() - started < 5
        # The connection can still be used, once the body is whole.
        connection.send(whole[6:])
        connection.post("/complete", whole)
        assert connection.answer().status == 200


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "61", "soon", "", "1s", "1 2", "1e400"])
def test_a_deadline_that_is_none_is_refused(slow: httpx.Client, given: str) -> None:
    response = slow.post("/complete", json=SINGLE, headers={HEADER: given})
    assert response.status_code == 400, response.text
    problem = response.json()
    assert problem["type"] == "urn:relata:problem:invalid-timeout"
    assert "above 0 and at most 60" in problem["detail"]


@pytest.mark.parametrize("given", ["60", "0.9e1", "+5"])
def test_a_deadline_may_be_any_number_in_range(slow: httpx.Client, given: str) -> None:
    assert slow.post("/complete", json=SINGLE, headers={HEADER: given}).status_code == 200
