"""The log: as text or JSON, with the request's id on every line that belongs to one."""

import asyncio
import json
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.logs import REQUEST_ID, JsonFormatter, note_request, set_up_logging
from tests.app.raw_http import RawConnection
from tests.app.scraping import wait_until

# Outside the tree of loggers: what it writes reaches no other handler.
logger = logging.Logger("tests.logs", logging.DEBUG)


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What a logger writes as JSON, line by line."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.setFormatter(JsonFormatter())
    handler.addFilter(note_request)
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in lines]
    logger.removeHandler(handler)


def test_a_line_has_its_fields(logged: Callable[[], list[dict[str, Any]]]) -> None:
    logger.warning(
        "%d of %s", 3, "ü\n\ud800", extra={"status": 200, "path": Path("/x"), "_stamp": 1}
    )
    (line,) = logged()
    at = datetime.fromisoformat(line.pop("timestamp"))
    assert at.tzinfo is not None
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert line == {
        "level": "warning",
        "logger": "tests.logs",
        "message": "3 of ü\n\ud800",
        "status": 200,
        "path": "/x",
    }


def test_a_line_is_one_line(logged: Callable[[], list[dict[str, Any]]]) -> None:
    record = logging.makeLogRecord({"msg": "first\nsecond\r\n\u2028third", "levelname": "INFO"})
    assert len(JsonFormatter().format(record).encode().split(b"\n")) == 1


def test_an_exception_is_a_field(logged: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        logger.exception("it failed")
    (line,) = logged()
    assert line["message"] == "it failed"
    assert line["exception"]["type"] == "builtins.ValueError"
    assert line["exception"]["message"] == "no such thing"
    assert "raise ValueError" in line["exception"]["traceback"]


def test_what_belongs_to_a_request_has_its_id(logged: Callable[[], list[dict[str, Any]]]) -> None:
    async def serve(request_id: str) -> None:
        REQUEST_ID.set(request_id)
        await asyncio.sleep(0)
        logger.info("in the task")
        await asyncio.to_thread(logger.info, "in a thread")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, copy_context().run, logger.info, "in an executor")
        await asyncio.create_task(_say("in a task of its own"))

    async def main() -> None:
        await asyncio.gather(*(serve(f"request-{number}") for number in range(3)))

    asyncio.run(main())
    thread = threading.Thread(target=logger.info, args=("of nobody",))
    thread.start()
    thread.join()
    lines = logged()
    for number in range(3):
        mine = [line["message"] for line in lines if line.get("request_id") == f"request-{number}"]
        assert mine == ["in the task", "in a thread", "in an executor", "in a task of its own"]
    (rest,) = [line for line in lines if "request_id" not in line]
    assert rest["message"] == "of nobody"


async def _say(message: str) -> None:
    logger.info(message)


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    root.handlers[:], root.level, threading.excepthook = handlers, level, hook
    logging.captureWarnings(False)


@pytest.mark.usefixtures("_logging_as_before")
def test_text_has_the_id_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    token = REQUEST_ID.set("trace-7")
    logging.getLogger("a.b").info("half a pair: \ud800")
    REQUEST_ID.reset(token)
    logging.getLogger("a.b").info("no request")
    logging.getLogger("a.b").debug("too much")
    first, second = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+ \S+ INFO a\.b: half a pair: \\ud800 \[trace-7\]", first)
    assert second.endswith("INFO a.b: no request")


@pytest.mark.usefixtures("_logging_as_before")
def test_warnings_and_other_libraries_join_in(capfd: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("transformers")
    library.addHandler(logging.StreamHandler())
    library.propagate = False
    # Another test may have silenced it.
    library.setLevel(logging.WARNING)
    logging.getLogger("transformers.models").setLevel(logging.NOTSET)
    set_up_logging("warning", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
    logging.getLogger("transformers.models").warning("a weight is new")
    logging.getLogger("uvicorn.error").error("a fault", extra={"color_message": "\x1b[31m"})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == [
        "py.warnings", "transformers.models", "uvicorn.error",
    ]  # fmt: skip
    assert "soon gone" in lines[0]["message"]
    assert "color_message" not in lines[2]


@pytest.mark.usefixtures("_logging_as_before")
def test_a_thread_that_ends_by_an_error_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", "json")
    thread = threading.Thread(target=lambda: 1 // 0, name="divider")
    thread.start()
    thread.join()
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (line["level"], line["message"]) == ("critical", "thread divider has ended")
    assert line["exception"]["type"] == "builtins.ZeroDivisionError"


@pytest.fixture(scope="module")
def json_server(start_server: Callable[..., Any], base_folder: Path, pack_folder: Path) -> Any:
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--log-format", "json", "--log-level", "debug",
    )  # fmt: skip


def _lines(server: Any, **fields: Any) -> list[dict[str, Any]]:
    """The lines that have these fields; all of the log must be JSON."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line for line in lines if fields.items() <= line.items()]


def _line(server: Any, **fields: Any) -> dict[str, Any]:
    """The one line that has these fields; it may be written just after the answer."""
    wait_until(lambda: bool(_lines(server, **fields)), "it is logged", 10)
    (line,) = _lines(server, **fields)
    return line


def test_all_that_a_server_logs_is_json(json_server: Any) -> None:
    loggers = {line["logger"] for line in _lines(json_server)}
    assert {"app.main", "app.server", "app.service", "uvicorn.error"} <= loggers


def test_the_line_of_a_question_says_where_its_time_went(json_server: Any) -> None:
    headers = {"x-request-id": "of-three"}
    queries = [{"subject": word, "relation": "IsA"} for word in ("dog", "cat")]
    body = {"queries": [*queries, {"subject": "dog", "relation": "Isa"}]}
    response = json_server.client.post("/complete", json=body, headers=headers)
    assert response.status_code == 200
    line = _line(json_server, request_id="of-three", logger="app.tracing")
    assert line["message"].startswith("POST /complete 200 ")
    expected = {"level": "info", "method": "POST", "path": "/complete", "status": 200}
    assert expected.items() <= line.items()
    assert (line["kind"], line["questions"]) == ("complete", 3)
    timing = response.headers["server-timing"]
    for name in ("queue", "tokenize", "infer"):
        assert f"{name};dur={line[f'{name}_ms']:.2f}" in timing
    assert line["duration_ms"] >= line["queue_ms"] + line["infer_ms"]


def test_the_line_of_a_refusal_says_what_was_asked(json_server: Any) -> None:
    headers = {"x-request-id": "refused"}
    json_server.client.post("/complete", json={"subject": "dog"}, headers=headers)
    line = _line(json_server, request_id="refused", logger="app.tracing")
    assert (line["status"], line["kind"], line["questions"]) == (422, "complete", 1)
    assert "infer_ms" not in line


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_probes_are_logged_only_when_asked_for_or_refused(json_server: Any, path: str) -> None:
    headers = {"x-request-id": f"probe{path.replace('/', '-')}"}
    assert json_server.client.get(path, headers=headers).status_code == 200
    assert _line(json_server, request_id=headers["x-request-id"])["level"] == "debug"
    # Before it is ready, /ready is refused too, but how often it is asked then is left to chance.
    refused = {"x-request-id": f"{headers['x-request-id']}-refused"}
    assert json_server.client.post(path, headers=refused).status_code == 405
    assert _line(json_server, request_id=refused["x-request-id"])["level"] == "info"


def test_what_a_client_sends_cannot_forge_a_line(json_server: Any) -> None:
    with RawConnection.open(json_server.url) as connection:
        path = "/%0A%7B%22logger%22:%22forged%22%7D%E2%80%A8"
        connection.send(f"GET {path} HTTP/1.1\r\nHost: test\r\nX-Request-ID: a b\r\n\r\n".encode())
        answer = connection.answer()
    assert answer.status == 404
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    line = _line(json_server, request_id=answer.headers["x-request-id"])
    assert line["path"] == '/\\n{"logger":"forged"}\\u2028'
    assert _lines(json_server, logger="forged") == []


def test_subjects_and_answers_are_not_logged(json_server: Any) -> None:
    query = {"subject": "wheel", "relation": "IsA"}
    assert json_server.client.post("/complete", json=query).status_code == 200
    assert "wheel" not in json_server.log.read_text()
