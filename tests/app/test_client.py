"""`relata.Client` and `relata.AsyncClient` against real servers."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

import relata
from tests.app.conftest import Server


@pytest.fixture
def client(server: Server) -> Iterator[relata.Client]:
    with relata.Client(server.url) as client:
        yield client


def test_questions_are_answered(client: relata.Client) -> None:
    client.wait_ready()
    answer = client.complete("linen", "IsA", top_k=3)
    assert len(answer["completions"]) == 3
    assert answer["mask"]["relations"] == ["IsA"]
    both = client.complete("linen", ["IsA", "MadeOf"], combine="intersection")
    assert both["mask"]["combine"] == "intersection"
    assert client.complete(template="The sky is [Y].")["mask"] is None
    results = client.complete_many(
        [{"subject": "linen", "relation": "IsA", "top_k": 3}, {"subject": "", "relation": "IsA"}]
    )["results"]
    assert results[0] == answer
    assert results[1]["status"] == 422


def test_relations_masks_and_info(client: relata.Client) -> None:
    names = [entry["name"] for entry in client.relations()["relations"]]
    assert "IsA" in names
    assert client.relation("IsA")["name"] == "IsA"
    assert {entry["relation"] for entry in client.masks()["masks"]} == set(names)
    assert client.info()["base"]["name"]


def test_a_refusal_is_a_problem(client: relata.Client) -> None:
    with pytest.raises(relata.RelataProblem) as caught:
        client.complete("linen", "Isa")
    assert caught.value.status == 404
    assert caught.value.type == "urn:relata:problem:unknown-relation"
    assert caught.value.members["nearest"] == "IsA"
    assert "did you mean 'IsA'" in str(caught.value)


def test_the_deadline_is_the_clients(server: Server) -> None:
    with (
        relata.Client(server.url, timeout=1e-6) as client,
        pytest.raises(relata.RelataProblem, match="not answered within 1e-06 s"),
    ):
        client.complete("linen", "IsA")


def test_nobody_there() -> None:
    with relata.Client("http://127.0.0.1:9") as client:
        with pytest.raises(relata.RelataConnectionError, match="gives no answer"):
            client.info()
        with pytest.raises(relata.RelataError, match=r"not ready within 0\.1 s"):
            client.wait_ready(0.1)


def test_many_at_a_time_with_the_async_client(server: Server) -> None:
    async def ask() -> list[Any]:
        async with relata.AsyncClient(server.url) as client:
            await client.wait_ready()
            questions = [client.complete("linen", "IsA", top_k=n) for n in range(1, 9)]
            with pytest.raises(relata.RelataProblem):
                await client.relation("Nothing")
            return list(await asyncio.gather(*questions))

    answers = asyncio.run(ask())
    assert [len(answer["completions"]) for answer in answers] == list(range(1, 9))


class _Busy(BaseHTTPRequestHandler):
    """Refuses the first requests, as a full queue does."""

    refusals = 0
    seen: ClassVar[list[dict[str, str]]]

    def do_GET(self) -> None:
        type(self).seen.append({k.lower(): v for k, v in self.headers.items()})
        refused = len(type(self).seen) <= type(self).refusals
        members = {"type": "urn:x", "title": "Full", "status": 429, "detail": "Come back."}
        body = json.dumps(members if refused else {"version": "1"}).encode()
        self.send_response(429 if refused else 200)
        self.send_header("Retry-After", "1" if refused else "")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def busy() -> Iterator[tuple[str, type[_Busy]]]:
    class Handler(_Busy):
        seen: ClassVar[list[dict[str, str]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", Handler
        http.shutdown()


def test_a_full_queue_is_tried_again(busy: tuple[str, type[_Busy]]) -> None:
    url, handler = busy
    handler.refusals = 1
    with relata.Client(url, key="secret-key") as client:
        assert client.info() == {"version": "1"}
    assert len(handler.seen) == 2
    assert handler.seen[0]["authorization"] == "Bearer secret-key"
    assert handler.seen[0]["x-request-timeout"] == "30"


@pytest.mark.parametrize("retries", [0, 1])
def test_not_for_ever(busy: tuple[str, type[_Busy]], retries: int) -> None:
    url, handler = busy
    handler.refusals = 9

    async def ask() -> None:
        async with relata.AsyncClient(url, retries=retries) as client:
            await client.info()

    with pytest.raises(relata.RelataProblem, match="Come back") as caught:
        asyncio.run(ask())
    assert caught.value.retry_after == 1
    assert len(handler.seen) == retries + 1


@pytest.mark.parametrize("options", [{"timeout": 0}, {"retries": -1}])
def test_a_setup_that_means_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="timeout must be above 0"):
        relata.Client(**options)


def test_the_client_needs_neither_torch_nor_the_service() -> None:
    code = (
        "import sys, relata; relata.Client().close(); "
        "print(*(name for name in ('torch', 'fastapi', 'pydantic') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        relata.Clinet  # noqa: B018
