"""The proxy in front of stand-in replicas that stop, refuse, hang up and vanish."""

import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.docker.haproxy import CONFIGURATION, HAProxy, haproxy_program, run_haproxy, wait_for
from tests.docker.replicas import Dns, Exchange, Replica, replicas, serve_names

PROBLEM = "application/problem+json"
QUESTION = {"subject": "linen", "relation": "IsA"}


@dataclass
class Proxy:
    """A running HAProxy, and the replicas that it may find."""

    haproxy: HAProxy
    client: httpx.Client
    dns: Dns
    replicas: list[Replica]

    @property
    def port(self) -> int:
        """Where it takes requests."""
        return self.haproxy.port

    def find(self, *found: Replica) -> None:
        """Let the name stand for these replicas, and wait until the proxy asks just the ready."""
        self.dns.addresses = [replica.address for replica in found]
        ready = sum(replica.ready == 200 for replica in found)
        wait_for(lambda: self.haproxy.active() == ready, f"{ready} active replicas")

    def ask(self) -> httpx.Response:
        """Ask a question."""
        return self.client.post("/complete", json=QUESTION)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with (
        serve_names() as dns,
        replicas(3) as servers,
        run_haproxy(dns, servers[0].port, tmp_path) as haproxy,
        httpx.Client(base_url=f"http://127.0.0.1:{haproxy.port}", trust_env=False) as client,
    ):
        yield Proxy(haproxy, client, dns, servers)


def test_the_configuration_is_valid_without_a_warning() -> None:
    done = subprocess.run(
        [haproxy_program(), "-c", "-dW", "-f", str(CONFIGURATION)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_requests_are_spread_over_all_replicas(proxy: Proxy) -> None:
    proxy.find(*proxy.replicas)
    seen = Counter(proxy.ask().json()["replica"] for _ in range(30))
    assert set(seen) == {replica.address for replica in proxy.replicas}
    assert min(seen.values()) >= 5


def test_a_busy_replica_is_spared(proxy: Proxy) -> None:
    first, second, _ = proxy.replicas
    proxy.find(first, second)
    release = threading.Event()

    def slow(exchange: Exchange) -> None:
        exchange.body()
        if exchange.number == 1:
            release.wait(20)
        exchange.answer()

    first.behave = slow
    # The first requests are spread, so one of two hangs at the slow replica.
    hanging = threading.Thread(target=lambda: [ask_alone(proxy.port) for _ in range(2)])
    hanging.start()
    wait_for(lambda: bool(first.paths), "the slow replica is asked")
    try:
        assert {proxy.ask().json()["replica"] for _ in range(10)} == {second.address}
    finally:
        release.set()
        hanging.join(20)


def test_replicas_come_and_go_without_a_reload(proxy: Proxy) -> None:
    first, second, third = proxy.replicas
    proxy.find(first)
    assert proxy.ask().json()["replica"] == first.address
    proxy.find(first, second, third)
    assert {proxy.ask().json()["replica"] for _ in range(12)} == {
        replica.address for replica in proxy.replicas
    }
    proxy.find(third)
    assert {proxy.ask().json()["replica"] for _ in range(6)} == {third.address}


def test_a_replica_that_is_not_ready_is_not_asked(proxy: Proxy) -> None:
    loading, ready, _ = proxy.replicas
    loading.ready = 503
    proxy.find(loading, ready)
    assert {proxy.ask().json()["replica"] for _ in range(10)} == {ready.address}
    loading.ready = 200
    proxy.find(loading, ready)
    assert {proxy.ask().json()["replica"] for _ in range(10)} == {loading.address, ready.address}


def test_too_many_requests_is_passed_on_and_asked_only_once(proxy: Proxy) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.body()
        exchange.answer(429, {"retry-after": "7", "content-type": PROBLEM})

    for replica in proxy.replicas:
        replica.behave = refuse
    proxy.find(*proxy.replicas)
    response = proxy.ask()
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.headers["content-type"] == PROBLEM
    assert sum(len(replica.paths) for replica in proxy.replicas) == 1


def stopping(exchange: Exchange) -> None:
    exchange.body()
    exchange.answer(503, {"retry-after": "3", "content-type": PROBLEM})


def test_what_a_stopping_replica_refuses_is_answered_by_another(proxy: Proxy) -> None:
    first, second, _ = proxy.replicas
    first.behave = stopping
    proxy.find(first, second)
    responses = [proxy.ask() for _ in range(12)]
    assert {response.status_code for response in responses} == {200}
    assert {response.json()["replica"] for response in responses} == {second.address}
    assert first.paths, "the stopping replica was never tried: nothing was tested"


def test_a_long_body_that_a_stopping_replica_refuses_is_passed_on_as_refused(
    proxy: Proxy,
) -> None:
    replica = proxy.replicas[0]
    replica.behave = stopping
    proxy.find(replica)
    response = proxy.client.post("/complete", content=b"x" * 2**18)
    assert (response.status_code, response.headers["retry-after"]) == (503, "3")
    assert len(replica.paths) == 1


def test_a_refusal_by_every_replica_is_passed_on(proxy: Proxy) -> None:
    for replica in proxy.replicas:
        replica.behave = stopping
    proxy.find(*proxy.replicas)
    response = proxy.ask()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"
    assert response.json()["replica"] in {replica.address for replica in proxy.replicas}


def test_a_question_that_may_have_been_worked_on_is_not_asked_again(proxy: Proxy) -> None:
    def die(exchange: Exchange) -> None:
        exchange.body()
        exchange.hang_up()

    for replica in proxy.replicas:
        replica.behave = die
    proxy.find(*proxy.replicas)
    response = proxy.ask()
    assert response.status_code == 502
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["status"] == 502
    time.sleep(1)
    assert sum(len(replica.paths) for replica in proxy.replicas) == 1


def test_a_replica_that_no_longer_listens_costs_no_request(proxy: Proxy) -> None:
    first, second, _ = proxy.replicas
    proxy.find(first, second)
    first.stop()
    # Asked at once: the proxy's check has not noticed yet.
    assert {proxy.ask().json()["replica"] for _ in range(12)} == {second.address}


def test_a_long_body_reaches_the_replica_while_it_is_sent(proxy: Proxy) -> None:
    replica = proxy.replicas[0]
    began, total = threading.Event(), []

    def read(exchange: Exchange) -> None:
        exchange.handler.rfile.read(1024)
        began.set()
        rest = int(exchange.handler.headers["content-length"]) - 1024
        total.append(1024 + len(exchange.handler.rfile.read(rest)))
        exchange.answer()

    replica.behave = read
    proxy.find(replica)
    body = b"x" * (4 * 2**20)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.putrequest("POST", "/complete")
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body[: 2**18])
    assert began.wait(10), "the proxy held the body back"
    connection.send(body[2**18 :])
    assert connection.getresponse().status == 200
    assert total == [len(body)]


def test_an_early_refusal_of_a_long_body_reaches_the_client(proxy: Proxy) -> None:
    def too_large(exchange: Exchange) -> None:
        exchange.answer(413, {"connection": "close"})
        # Closing with bytes unread would reset the connection, and the answer could be lost.
        while exchange.handler.rfile.read1(2**16):
            pass

    replica = proxy.replicas[0]
    replica.behave = too_large
    proxy.find(replica)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as client:
        head = b"POST /complete HTTP/1.1\r\nHost: relata\r\nContent-Length: 900000000\r\n\r\n"
        client.sendall(head + b"x" * 2**15)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_replica_learns_who_asked(proxy: Proxy) -> None:
    replica = proxy.replicas[0]
    proxy.find(replica)
    proxy.client.post("/complete", json=QUESTION, headers={"X-Request-ID": "mine"})
    assert replica.headers["x-forwarded-for"] == "127.0.0.1"
    assert replica.headers["x-request-id"] == "mine"


@pytest.mark.parametrize("path", ["/metrics", "/%6Detrics", "/metrics/"])
def test_metrics_are_not_published(proxy: Proxy, path: str) -> None:
    replica = proxy.replicas[0]
    proxy.find(replica)
    with socket.create_connection(("127.0.0.1", proxy.port), 20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: relata\r\n\r\n".encode())
        head, _, body = client.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert json.loads(body)["type"] == "urn:relata:problem:not-found"
    assert replica.paths == []


def test_no_replica_is_a_problem_with_a_time_to_retry(proxy: Proxy) -> None:
    response = proxy.ask()
    assert response.status_code == 503
    assert response.headers["content-type"] == PROBLEM
    assert response.headers["retry-after"] == "1"
    problem = response.json()
    assert (problem["type"], problem["status"]) == ("urn:relata:problem:not-ready", 503)


def ask_alone(port: int) -> int:
    """Ask on a connection of its own; the status."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        return client.post("/complete", json=QUESTION).status_code


def test_a_stop_lets_accepted_requests_finish(proxy: Proxy) -> None:
    replica = proxy.replicas[0]
    release, statuses = threading.Event(), []

    def slow(exchange: Exchange) -> None:
        exchange.body()
        release.wait(20)
        exchange.answer()

    replica.behave = slow
    proxy.find(replica)
    asking = threading.Thread(target=lambda: statuses.append(ask_alone(proxy.port)))
    asking.start()
    wait_for(lambda: bool(replica.paths), "the replica is asked")
    proxy.haproxy.process.send_signal(signal.SIGUSR1)

    def refused() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", proxy.port), 1):
                return False
        except ConnectionResetError:
            # It was connected while the listening socket was being closed.
            return False
        except ConnectionRefusedError:
            return True

    wait_for(refused, "new connections are refused")
    assert proxy.haproxy.process.poll() is None
    release.set()
    asking.join(20)
    assert statuses == [200]
    assert proxy.haproxy.process.wait(20) == 0
