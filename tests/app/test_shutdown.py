"""SIGTERM: what reached the server is answered, and everyone is told to go elsewhere."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.app.raw_http import Answer, RawConnection, post
from tests.app.scraping import value, wait_until

SINGLE = json.dumps({"subject": "dog", "relation": "IsA"}).encode()
CLIENTS = 8
CYCLES = 3


@pytest.fixture
def start(
    start_server: Callable[..., Any], base_folder: Path, pack_folder: Path
) -> Callable[..., Any]:
    def start(*flags: str) -> Any:
        return start_server(
            "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
            "--cache", "off", *flags,
        )  # fmt: skip

    return start


class Asker(threading.Thread):
    """Asks again and again until no connection can be made; keeps its connection if it may."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.statuses: list[int] = []
        self.lost: list[str] = []

    def run(self) -> None:
        while True:
            try:
                connection = RawConnection.open(self.url)
            except ConnectionError:
                return
            with connection:
                while self._ask(connection):
                    pass

    def _ask(self, connection: RawConnection) -> bool:
        """One request; whether the connection can be used again."""
        try:
            connection.post("/complete", SINGLE)
            answer = connection.answer()
        except (OSError, EOFError) as error:
            self.lost.append(repr(error))
            return False
        self.statuses.append(answer.status)
        return answer.headers.get("connection") != "close"


@pytest.mark.parametrize("cycle", range(CYCLES))
def test_under_load_nothing_that_was_accepted_is_lost(
    start: Callable[..., Any], cycle: int
) -> None:
    server = start("--drain-seconds", ("0", "0.3", "1")[cycle % 3])
    askers = [Asker(server.url) for _ in range(CLIENTS)]
    for asker in askers:
        asker.start()
    time.sleep(0.5 + Random(cycle).random())
    code = server.stop()
    for asker in askers:
        asker.join(60)
        assert not asker.is_alive()
    assert code == 0
    assert [lost for asker in askers for lost in asker.lost] == []
    assert {status for asker in askers for status in asker.statuses} == {200}
    log = server.log.read_text()
    assert "Traceback" not in log
    assert " ERROR " not in log


@pytest.fixture
def draining(start: Callable[..., Any]) -> Iterator[Any]:
    """A server with a connection of each kind, told to stop and draining for a while."""
    server = start("--drain-seconds", "8")
    with ExitStack() as stack:
        used, unused, begun = (
            stack.enter_context(RawConnection.open(server.url)) for _ in range(3)
        )
        used.post("/complete", SINGLE)
        assert used.answer().status == 200
        begun.send(post("/complete", SINGLE)[:40])
        server.connections = {"used": used, "unused": unused, "begun": begun}
        server.process.send_signal(signal.SIGTERM)
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            wait_until(lambda: client.get("/ready").status_code == 503, "it drains", 5)
        yield server
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.log.read_text()


def _ask(connection: RawConnection, request: bytes) -> Answer:
    connection.send(request)
    answer = connection.answer()
    assert connection.ended()
    return answer


def test_while_it_drains_it_answers_all_and_keeps_nobody(draining: Any) -> None:
    # Not ready, and says so to whoever asks for that.
    with RawConnection.open(draining.url) as connection:
        answer = _ask(connection, b"GET /ready HTTP/1.1\r\nHost: test\r\n\r\n")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.body)["type"] == "urn:relata:problem:not-ready"
    with RawConnection.open(draining.url) as connection:
        alive = _ask(connection, b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
    assert alive.status == 200
    # Connections from before are answered, and so is a new one.
    requests = {
        "used": post("/complete", SINGLE),
        "unused": post("/complete", SINGLE),
        "begun": post("/complete", SINGLE)[40:],
    }
    for name, request in requests.items():
        answer = _ask(draining.connections[name], request)
        assert (name, answer.status, answer.headers["connection"]) == (name, 200, "close")
    with RawConnection.open(draining.url) as connection:
        answer = _ask(connection, post("/complete", SINGLE))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    draining.process.wait(60)
    with pytest.raises(ConnectionRefusedError):
        RawConnection.open(draining.url)


def test_an_idle_connection_is_closed_in_order(start: Callable[..., Any]) -> None:
    server = start("--drain-seconds", "0")
    with RawConnection.open(server.url) as used, RawConnection.open(server.url) as unused:
        used.post("/complete", SINGLE)
        assert used.answer().status == 200
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        # The end of the stream, and no reset.
        assert used.ended()
        assert unused.ended()
        assert server.process.wait(60) == 0
        # It does not wait for clients that keep connections without using them.
        assert time.monotonic() - started < 20


def test_a_request_on_its_way_when_the_listener_closes_is_answered(
    start: Callable[..., Any],
) -> None:
    server = start("--drain-seconds", "0")
    whole = post("/complete", SINGLE)
    with RawConnection.open(server.url) as in_head, RawConnection.open(server.url) as in_body:
        in_head.send(whole[:30])
        in_body.send(whole[:-10])
        wait_until(lambda: server.client.get("/health").status_code == 200, "all was read")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.6)
        with pytest.raises(ConnectionRefusedError):
            RawConnection.open(server.url)
        in_head.send(whole[30:])
        in_body.send(whole[-10:])
        for connection in (in_head, in_body):
            answer = connection.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert server.process.wait(60) == 0


def _long_body() -> bytes:
    query = {"subject": "dog " * 30, "relation": "IsA", "top_k": 3}
    return json.dumps({"queries": [query] * 800}).encode()


@pytest.fixture
def busy(start: Callable[..., Any]) -> Iterator[tuple[Any, RawConnection]]:
    """A server that works on a long request, and the connection that waits for it."""
    server = start(
        "--drain-seconds", "0", "--token-budget", "1", "--queue-size", "1000",
        "--max-queries", "800", "--mask-cache-bytes", "0",
    )  # fmt: skip
    with RawConnection.open(server.url) as connection:
        connection.post("/complete", _long_body())
        wait_until(lambda: value(server.client, "relata_queue_rows") > 50, "the model is busy")
        yield server, connection


def test_a_long_request_is_answered_to_its_end(busy: tuple[Any, RawConnection]) -> None:
    server, connection = busy
    with ThreadPoolExecutor(1) as pool:
        code = pool.submit(server.stop)
        answer = connection.answer()
        assert answer.status == 200
        assert len(json.loads(answer.body)["results"]) == 800
        assert code.result() == 0


def test_a_second_interrupt_ends_at_once(busy: tuple[Any, RawConnection]) -> None:
    server, _ = busy
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    server.process.wait(20)
