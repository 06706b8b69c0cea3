"""Real servers and a real Redis: the cache changes how fast an answer comes, and nothing else."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from masks import RelationMask, dump_mask
from tests.app.scraping import value, wait_until
from tests.fake_redis import array, fake_redis
from tests.redis_server import RedisServer, start_redis

SUBJECTS = ("linen", "dog", "cat", "bird", "stone", "water", "knife", "shirt", "car", "tree")
ADMIN_KEY = "an-admin-key-of-some-length"
# Far more than Redis needs, so that a busy machine is not taken for a Redis that is silent.
TIMEOUT = 2.0

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/complete", {"subject": "dog", "relation": "IsA"}),
    ("/complete", {"subject": "dog", "relation": "IsA", "top_k": 3}),
    ("/complete", {"subject": "dog", "relation": "IsA", "vocabulary": "all"}),
    ("/complete", {"subject": "dog", "relation": "IsA", "masked": False}),
    ("/complete", {"subject": "dog", "relation": "HasA"}),
    ("/complete", {"subject": "dog", "relation": ["IsA", "HasA"], "combine": "intersection"}),
    ("/complete", {"subject": "dog", "relation": ["IsA", "HasA"], "combine": "union"}),
    ("/complete", {"subject": "cat", "relation": "IsA", "filter": ["dog"]}),
    ("/complete", {"subject": "cat", "relation": "IsA", "targets": ["dog", "cat"]}),
    ("/complete", {"subject": "cat", "relation": "IsA", "targets": ["cat", "dog"]}),
    (
        "/complete",
        {"subject": "cat", "relation": "IsA", "targets": ["dog", "cat"], "normalize": "targets"},
    ),
    ("/complete", {"queries": [{"subject": name, "relation": "IsA"} for name in SUBJECTS]}),
    ("/score_choices", {"context": "a dog can", "choices": ["run", "fly in the sky"]}),
    (
        "/score_choices",
        {"context": "a dog can", "choices": ["run", "fly"], "relations": ["CapableOf"]},
    ),
    ("/predict_links", {"subject": "dog", "relation": "IsA", "top_k": 4}),
)

StartServer = Callable[..., Any]


@pytest.fixture(scope="module")
def start(start_server: StartServer, base_folder: Path, pack_folder: Path) -> Iterator[StartServer]:
    """Start servers of the tiny base, which must end well."""
    started: list[Any] = []

    def start(redis: str | None, *flags: str) -> Any:
        environment = {"RELATA_ADMIN_KEY": ADMIN_KEY, "RELATA_REDIS_TIMEOUT": str(TIMEOUT)}
        if redis is not None:
            environment["RELATA_REDIS_URL"] = redis
        server = start_server(
            "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1", *flags,
            environment=environment,
        )  # fmt: skip
        started.append(server)
        return server

    yield start
    for server in started:
        assert server.stop() == 0, server.log.read_text()
        log = server.log.read_text()
        assert "Traceback" not in log, log
        assert "never retrieved" not in log, log


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def pair(start: StartServer, redis: RedisServer) -> tuple[Any, Any]:
    """Two servers that share a Redis. Memory keeps answers: each test asks questions of its own."""
    return start(redis.url), start(redis.url)


@pytest.fixture(scope="module")
def plain(start: StartServer) -> Any:
    """A server without a cache."""
    return start(None, "--cache", "off")


def _post(server: Any, path: str, body: dict[str, Any]) -> httpx.Response:
    response: httpx.Response = server.client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response


def _complete(server: Any, subject: str, **fields: Any) -> httpx.Response:
    return _post(server, "/complete", {"subject": subject, "relation": "IsA"} | fields)


def _used(response: httpx.Response) -> dict[str, int]:
    """How many readings came from where, as the header says."""
    figures = re.findall(r"(\w+)=(\d+)", response.headers["cache-status"].partition("detail=")[2])
    return {name: int(count) for name, count in figures if count != "0"}


def _hits(server: Any, tier: str) -> float:
    return value(server.client, "relata_answer_cache_hits_total", tier=tier)


def _same(one: Any, other: Any) -> None:
    """Equal but for rounding."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, member in one.items():
            _same(member, other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            _same(left, right)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)
    else:
        assert one == other


def test_answers_are_the_same_with_and_without_a_cache(pair: tuple[Any, Any], plain: Any) -> None:
    cached = pair[0]
    before = _hits(cached, "memory")
    for path, body in QUESTIONS:
        first = _post(cached, path, body)
        again = _post(cached, path, body)
        without = _post(plain, path, body)
        assert again.content == first.content
        _same(first.json(), without.json())
        assert again.headers["cache-status"].startswith("relata;hit;")
        assert set(_used(again)) == {"memory"}
        assert "cache-status" not in without.headers
    # In another order, each still gets its own.
    for path, body in reversed(QUESTIONS):
        _same(_post(cached, path, body).json(), _post(plain, path, body).json())
    assert _hits(cached, "memory") - before > 2 * len(QUESTIONS)
    assert value(cached.client, "relata_answer_cache_bytes") > 0
    assert "relata_answer_cache" not in plain.client.get("/metrics").text


def test_the_second_of_two_servers_answers_from_redis(
    pair: tuple[Any, Any], redis: RedisServer
) -> None:
    first, second = pair
    before = _hits(second, "redis")
    with redis.client() as client:
        client.flushdb()
        answers = [_complete(first, name, top_k=7) for name in SUBJECTS]
        assert [_used(answer) for answer in answers] == [{"model": 1}] * len(SUBJECTS)
        assert all("fwd=miss" in answer.headers["cache-status"] for answer in answers)
        wait_until(lambda: len(client.keys("relata:answer:*")) == len(SUBJECTS), "all is written")
        lifetimes = {client.ttl(key) for key in client.keys("relata:answer:*")}
    assert all(86_000 < lifetime <= 86_400 for lifetime in lifetimes)
    for name, answer in zip(SUBJECTS[1:], answers[1:], strict=True):
        shared = _complete(second, name, top_k=7)
        assert shared.content == answer.content
        assert shared.headers["cache-status"].startswith("relata;hit;")
        assert _used(shared) == {"redis": 1}
        assert _used(_complete(second, name, top_k=7)) == {"memory": 1}
    # Of many in one body the model is asked for what is new alone.
    names = (*SUBJECTS, "house")
    body = {"queries": [{"subject": name, "relation": "IsA", "top_k": 7} for name in names]}
    many = _post(second, "/complete", body)
    assert many.headers["cache-status"].startswith("relata;fwd=partial;")
    assert _used(many) == {"redis": 1, "memory": len(SUBJECTS) - 1, "model": 1}
    assert _hits(second, "redis") - before == len(SUBJECTS)
    assert value(second.client, "relata_answer_cache_errors_total") == 0
    assert value(second.client, "relata_redis_up") == 1


def test_another_type_of_weights_shares_nothing(
    pair: tuple[Any, Any], start: StartServer, redis: RedisServer
) -> None:
    unmasked = {"relation": None, "template": "a stone and a [Y]."}
    answer = _post(pair[0], "/complete", unmasked)
    assert _used(answer) == {"model": 1}
    with redis.client() as client:
        wait_until(lambda: client.dbsize() > 0, "it is written")
    other = start(redis.url, "--dtype", "bfloat16")
    different = _post(other, "/complete", unmasked)
    assert _used(different) == {"model": 1}
    assert different.json()["completions"] != answer.json()["completions"]


def test_many_who_ask_the_same_at_once_cost_one(pair: tuple[Any, Any]) -> None:
    server = pair[0]
    queries = [{"subject": name, "relation": "IsA", "top_k": 8} for name in SUBJECTS * 3]
    misses = value(server.client, "relata_answer_cache_misses_total")
    hits = _hits(server, "memory")
    barrier = threading.Barrier(16)

    def ask() -> httpx.Response:
        barrier.wait()
        return _post(server, "/complete", {"queries": queries})

    with ThreadPoolExecutor(16) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(16)]]
    assert len({answer.content for answer in answers}) == 1
    asked = value(server.client, "relata_answer_cache_misses_total") - misses
    assert asked == len(SUBJECTS)
    assert _hits(server, "memory") - hits == 16 * len(queries) - asked


def test_a_mask_that_is_replaced_never_answers_from_the_cache(
    pair: tuple[Any, Any], make_mask: Callable[..., RelationMask]
) -> None:
    masks = [make_mask("Causes", seed=seed) for seed in (7, 8)]
    answers: dict[str, httpx.Response] = {}
    for turn in range(4):
        mask = masks[turn % 2]
        pair[0].client.put(
            "/masks/Causes",
            content=dump_mask(mask),
            headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        ).raise_for_status()
        answer = _complete(pair[0], "dog", relation="Causes")
        assert answer.json()["mask"]["digest"] == mask.digest
        # A mask that comes back finds its answers again.
        assert _used(answer) == ({"model": 1} if turn < 2 else {"memory": 1})
        assert answer.json() == answers.setdefault(mask.digest, answer).json()
    assert len({str(answer.json()["completions"]) for answer in answers.values()}) == 2


class Askers:
    """Ask a server on some threads without pause; what fails shows at the end."""

    def __init__(self, server: Any, count: int = 4) -> None:
        self._server = server
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(count)
        self._futures = [self._pool.submit(self._ask, number) for number in range(count)]

    def _ask(self, number: int) -> list[float]:
        seconds: list[float] = []
        while not self._stop.is_set():
            started = time.perf_counter()
            # Some questions are new each time, so that Redis is asked and written to.
            words = f"{SUBJECTS[len(seconds) % 10]} " * (1 + len(seconds) // 10 % 20)
            _complete(self._server, words, top_k=1 + (number + len(seconds)) % 60)
            seconds.append(time.perf_counter() - started)
        return seconds

    def end(self) -> list[float]:
        """Seconds of each request."""
        self._stop.set()
        self._pool.shutdown()
        return [seconds for future in self._futures for seconds in future.result()]


def test_no_request_fails_while_redis_is_killed_and_restarted(
    pair: tuple[Any, Any], redis: RedisServer
) -> None:
    server = pair[0]
    begun = server.log.read_text()
    askers = Askers(server)
    for _ in range(3):
        redis.kill()
        wait_until(lambda: value(server.client, "relata_redis_up") == 0, "it is seen to be gone")
        redis.start()
        wait_until(lambda: value(server.client, "relata_redis_up") == 1, "it is used again")
    with redis.client() as client:
        wait_until(lambda: client.dbsize() > 0, "answers are kept again")
    assert len(askers.end()) > 100
    log = server.log.read_text().removeprefix(begun)
    assert log.count("is left alone until it answers") == log.count("answers are kept in") == 3


def test_a_silent_redis_makes_nobody_wait_for_long(
    pair: tuple[Any, Any], redis: RedisServer
) -> None:
    server = pair[0]
    askers = Askers(server)
    redis.pause()
    wait_until(lambda: value(server.client, "relata_redis_up") == 0, "it is left alone")
    started = time.perf_counter()
    for name in SUBJECTS:
        assert _used(_complete(server, name, top_k=70)) == {"model": 1}
    assert time.perf_counter() - started < TIMEOUT * len(SUBJECTS) / 2
    assert max(askers.end()) < 2 * TIMEOUT
    redis.resume()
    wait_until(lambda: value(server.client, "relata_redis_up") == 1, "it is used again")


def test_a_full_redis_is_read_and_costs_nothing_else(
    pair: tuple[Any, Any], redis: RedisServer
) -> None:
    first, second = pair
    for server in pair:
        wait_until(partial(_up, server), "it is used")
    _complete(first, "dog", top_k=9)
    errors = value(second.client, "relata_answer_cache_errors_total")
    with redis.client() as client:
        wait_until(lambda: client.dbsize() > 0, "it is written")
        client.config_set("maxmemory-policy", "noeviction")
        redis.fill()
    answers = [_complete(second, name, top_k=9) for name in ("dog", "cat")]
    assert [_used(answer) for answer in answers] == [{"redis": 1}, {"model": 1}]
    _same(answers[1].json(), _complete(first, "cat", top_k=9).json())
    wait_until(
        lambda: value(second.client, "relata_answer_cache_errors_total") > errors, "it is counted"
    )
    assert value(second.client, "relata_redis_up") == 1
    assert "Redis keeps no further answers" in second.log.read_text()
    redis.drain()


def _up(server: Any) -> bool:
    return value(server.client, "relata_redis_up") == 1


def test_a_lying_redis_is_not_believed(start: StartServer) -> None:
    with fake_redis() as fake:
        # It remembers nothing itself.
        server = start(fake.url, "--cache-bytes", "0")
        answers = {name: _complete(server, name) for name in SUBJECTS}
        wait_until(lambda: len(fake.data) == len(SUBJECTS), "all is written")
        truth = dict(fake.data)
        assert _used(_complete(server, "dog")) == {"redis": 1}
        foreign = dict(
            zip(truth, (*list(truth.values())[1:], truth[next(iter(truth))]), strict=True)
        )
        changed = {key: kept[:-1] + bytes([kept[-1] ^ 1]) for key, kept in truth.items()}
        for lies in (foreign, changed):
            for name, answer in answers.items():
                fake.data = dict(lies)
                told = _complete(server, name)
                _same(told.json(), answer.json())
                assert _used(told) == {"model": 1}
        assert value(server.client, "relata_answer_cache_errors_total") == 2 * len(SUBJECTS)
        fake.data = dict(truth)
        assert _used(_complete(server, "dog")) == {"redis": 1}
        fake.reply = lambda _, values: array(values[1:])
        for name, answer in answers.items():
            told = _complete(server, name)
            _same(told.json(), answer.json())
            assert _used(told) == {"model": 1}
        fake.reply = None
        wait_until(partial(_up, server), "it is used again")
        wait_until(lambda: _used(_complete(server, "dog")) == {"redis": 1}, "it is read again")


def test_without_redis_it_starts_says_so_and_hides_the_password(start: StartServer) -> None:
    with socket.socket() as taken:
        # Nothing listens there, and nothing else can.
        taken.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(f"redis://user:s3cr3t-word@{at}/2")
        assert _used(_complete(server, "dog")) == {"model": 1}
        assert _used(_complete(server, "dog")) == {"memory": 1}
        assert f"Redis at redis://{at}/2 is left alone until it answers" in server.log.read_text()
        assert value(server.client, "relata_redis_up") == 0
        info = server.client.get("/info")
        assert "s3cr3t" not in info.text + server.log.read_text()
        assert info.json()["settings"]["cache"] == "auto"
