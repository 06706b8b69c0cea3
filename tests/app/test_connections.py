"""What connections bear: heads that never end, bodies nobody reads, bytes that are no HTTP."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from app import connections
from app.closing import ConnectionClosing
from app.connections import HEAD_BYTES, GuardedConnection, H11Connection, connection_class
from app.readiness import Readiness
from tests.app.raw_http import RawConnection, post

# Heads may take so long here.
SECONDS = 0.4


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers /length with the length of the body, and anything else without reading it."""
    assert scope["type"] == "http"
    length = -1
    if scope["path"] == "/length":
        length = 0
        more = True
        while more:
            message = await receive()
            length += len(message["body"])
            more = message["more_body"]
    content = str(length).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


@contextmanager
def _served(protocol: type[GuardedConnection], readiness: Readiness) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            ConnectionClosing(_app, readiness=readiness),
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(params=["httptools", "h11"])
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(connections, "_HEAD_SECONDS", SECONDS)
    if request.param == "h11":
        return H11Connection
    pytest.importorskip("httptools")
    found = connection_class()
    assert found is not H11Connection
    return found


@pytest.fixture
def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
def url(protocol: Any, readiness: Readiness) -> Iterator[str]:
    with _served(protocol, readiness) as url:
        yield url


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_connection_outlives_a_body_that_was_not_read(url: str, size: int) -> None:
    with RawConnection.open(url) as connection:
        for _ in range(3):
            connection.post("/", b"x" * size)
            answer = connection.answer()
            assert (answer.status, answer.body) == (200, b"-1")
            assert "connection" not in answer.headers
        connection.post("/length", b"x" * size)
        assert connection.answer().body == str(size).encode()


def test_a_chunked_body_that_was_not_read_does_not_matter_either(url: str) -> None:
    with RawConnection.open(url) as connection:
        head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.send(head + b"5\r\nhello\r\n" + b"0\r\n\r\n")
        assert connection.answer().body == b"-1"
        connection.post("/length", b"four")
        assert connection.answer().body == b"4"


def test_an_answer_is_not_lost_when_the_connection_ends_under_a_long_body(url: str) -> None:
    size = 4_000_000
    with RawConnection.open(url) as connection:
        connection.post("/", b"x" * size, "Connection: close")
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"-1")
        assert connection.ended()


def test_while_the_server_drains_every_answer_ends_its_connection(
    url: str, readiness: Readiness
) -> None:
    with RawConnection.open(url) as connection:
        connection.post("/length", b"1234")
        assert "connection" not in connection.answer().headers
        readiness.draining = True
        connection.post("/length", b"1234")
        answer = connection.answer()
        assert (answer.body, answer.headers["connection"]) == (b"4", "close")
        assert connection.ended()


def test_leave_to_send_a_body_is_given_only_where_it_is_read(url: str) -> None:
    with RawConnection.open(url) as connection:
        connection.send(post("/length", b"", "Expect: 100-continue").replace(b": 0", b": 4"))
        assert connection.answer().status == 100
        connection.send(b"1234")
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"4")
    with RawConnection.open(url) as connection:
        connection.send(post("/", b"", "Expect: 100-continue").replace(b": 0", b": 4"))
        answer = connection.answer()
        assert (answer.status, answer.body) == (200, b"-1")
        assert answer.headers["connection"] == "close"
        assert connection.ended()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: te"])
def test_a_head_that_does_not_come_is_not_waited_for(url: str, begun: bytes) -> None:
    with RawConnection.open(url) as connection:
        connection.send(begun)
        started = time.monotonic()
        assert connection.ended()
        assert SECONDS / 2 < time.monotonic() - started < 20


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(url: str) -> None:
    head = b"GET / HTTP/1.1\r\nHost: test\r\n" + b"x" * 100
    sent = 0
    with RawConnection.open(url) as connection, suppress(ConnectionError):
        for byte in head:
            connection.send(bytes([byte]))
            sent += 1
            time.sleep(SECONDS / 10)
    assert sent < len(head)


def test_the_second_head_is_not_waited_for_either(url: str) -> None:
    with RawConnection.open(url) as connection:
        connection.post("/length", b"1")
        assert connection.answer().body == b"1"
        connection.send(b"GET / HTTP")
        started = time.monotonic()
        assert connection.ended()
        assert time.monotonic() - started < 20


def test_a_request_that_takes_longer_than_its_head_may_is_answered(url: str) -> None:
    with RawConnection.open(url) as connection:
        whole = post("/length", b"x" * 10)
        connection.send(whole[:-10])
        for _ in range(10):
            time.sleep(SECONDS / 5)
            connection.send(b"x")
        assert connection.answer().body == b"10"


def test_a_head_may_be_long(url: str) -> None:
    with RawConnection.open(url) as connection:
        connection.post("/length", b"1", "X-Long: " + "x" * (HEAD_BYTES // 2))
        assert connection.answer().body == b"1"


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_a_head_without_end_is_refused(url: str, protocol: Any, pause: float) -> None:
    with RawConnection.open(url) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: test\r\nX-Long: ")
        try:
            for _ in range(50):
                connection.send(b"x" * 4096)
                time.sleep(pause)
        except OSError:
            # Refused and closed while it was still being sent.
            return
        answer = connection.answer()
        # h11 does not tell why it refuses.
        assert answer.status == (400 if protocol is H11Connection else 431)
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["status"] == answer.status
        # What the server did not read any more makes the end a reset.
        with suppress(ConnectionResetError):
            assert connection.ended()


def test_a_whole_head_over_the_limit_is_refused(url: str, protocol: Any) -> None:
    if protocol is H11Connection:
        pytest.skip("h11 limits only what it still waits for, and so what is read at a time")
    with RawConnection.open(url) as connection:
        connection.post("/length", b"1", *("X-Some: " + "x" * 1000 for _ in range(60)))
        answer = connection.answer()
        assert answer.status == 431
        assert connection.ended()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: ten\r\n\r\n",
        b"POST /length HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    ],
)
def test_what_is_no_http_is_refused_as_a_problem(url: str, sent: bytes) -> None:
    with RawConnection.open(url) as connection:
        connection.send(sent)
        answer = connection.answer()
        assert answer.status == 400
        assert json.loads(answer.body)["title"] == "Bad Request"
        assert connection.ended()
    with RawConnection.open(url) as connection:
        connection.post("/length", b"12")
        assert connection.answer().body == b"2"


def test_a_body_is_not_lost_where_the_client_would_rather_speak_http_2(url: str) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAE")
    with RawConnection.open(url) as connection:
        for _ in range(2):
            connection.post("/length", b"twelve bytes", *upgrade)
            assert connection.answer().body == b"12"


@pytest.fixture
def idle(url: str) -> Iterator[Callable[[], RawConnection]]:
    """Opens connections that were used once."""
    opened: list[RawConnection] = []

    def open_one() -> RawConnection:
        connection = RawConnection.open(url)
        opened.append(connection)
        connection.post("/length", b"")
        assert connection.answer().body == b"0"
        return connection

    yield open_one
    for connection in opened:
        connection.socket.close()


def test_pipelined_requests_are_answered_in_order(idle: Callable[[], RawConnection]) -> None:
    connection = idle()
    connection.send(b"".join(post("/length", b"x" * length) for length in range(5)))
    assert [connection.answer().body for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]
