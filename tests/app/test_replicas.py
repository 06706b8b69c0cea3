"""Servers that share a Redis serve the same masks, whatever happens to it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from masks import RelationMask, add_to_pack, dump_mask, write_pack
from plm import BaseModel
from tests.redis_server import RedisServer, start_redis

MakeMask = Callable[..., RelationMask]
StartServer = Callable[..., Any]

KEY = "an-admin-key-of-some-length"
ADMIN = {"Authorization": f"Bearer {KEY}"}
PATIENCE = 60.0


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = start_redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def start_replica(
    start_server: StartServer, base_folder: Path, pack_folder: Path, shared_redis: RedisServer
) -> Callable[..., Any]:
    def start(*flags: str) -> Any:
        return start_server(
            "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
            "--redis-url", shared_redis.url, *flags,
            environment={"RELATA_ADMIN_KEY": KEY},
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def one(start_replica: Callable[..., Any]) -> Any:
    return start_replica()


@pytest.fixture(scope="module")
def two(start_replica: Callable[..., Any]) -> Any:
    return start_replica()


@pytest.fixture(autouse=True)
def _in_touch(one: Any, two: Any, shared_redis: RedisServer, make_mask: MakeMask) -> None:
    """Before each test, what one replica is told reaches the other at once."""
    for seed in range(100, 200):
        mask = make_mask("AtLocation", seed=seed)
        if _put(one, mask)["replicated"]:
            _wait(two, mask)
            return
        time.sleep(0.1)
    pytest.fail("the replicas do not find Redis again")


def _put(server: Any, mask: RelationMask) -> dict[str, Any]:
    response = server.client.put(f"/masks/{mask.relation}", content=dump_mask(mask), headers=ADMIN)
    assert response.status_code in (200, 201), response.text
    described: dict[str, Any] = response.json()
    return described


def _delete(server: Any, relation: str) -> None:
    assert server.client.delete(f"/masks/{relation}", headers=ADMIN).status_code == 204


def _digest(server: Any, relation: str) -> str | None:
    response: httpx.Response = server.client.post(
        "/complete", json={"subject": "dog", "relation": relation}
    )
    if response.status_code == 404:
        return None
    digest: str = response.raise_for_status().json()["mask"]["digest"]
    return digest


def _wait(server: Any, mask: RelationMask | str, seconds: float = PATIENCE) -> None:
    """Wait until a server answers under a mask, or no more under that of a relation."""
    relation, wanted = (mask, None) if isinstance(mask, str) else (mask.relation, mask.digest)
    deadline = time.monotonic() + seconds
    while (digest := _digest(server, relation)) != wanted:
        assert time.monotonic() < deadline, f"{relation} is {digest}, not {wanted}"
        time.sleep(0.02)


def test_what_is_put_and_deleted_on_one_holds_on_the_other(
    one: Any, two: Any, make_mask: MakeMask
) -> None:
    for seed, (here, there) in enumerate([(one, two), (two, one)] * 3):
        mask = make_mask("IsA", seed=seed)
        assert _put(here, mask)["replicated"] is True
        _wait(there, mask)
        _delete(here, "IsA")
        _wait(there, "IsA")
    # One that is in the packs of both, and comes back.
    _delete(one, "UsedFor")
    _wait(two, "UsedFor")
    _put(two, make_mask("UsedFor", seed=1))
    _wait(one, make_mask("UsedFor", seed=1))
    download = one.client.get("/masks/UsedFor")
    assert download.content == two.client.get("/masks/UsedFor").content
    assert download.headers["etag"] == two.client.get("/masks/UsedFor").headers["etag"]


def test_who_starts_later_is_ready_with_all_changes(
    one: Any, start_replica: Callable[..., Any], make_mask: MakeMask
) -> None:
    mask = make_mask("Causes", seed=1)
    _put(one, mask)
    _delete(one, "Desires")
    late = start_replica()
    assert _digest(late, "Causes") == mask.digest
    assert _digest(late, "Desires") is None
    assert late.client.get("/masks").json()["masks"] == one.client.get("/masks").json()["masks"]
    assert late.stop() == 0


def test_while_redis_is_killed_both_serve_and_afterwards_they_agree(
    one: Any, two: Any, shared_redis: RedisServer, make_mask: MakeMask
) -> None:
    before = make_mask("HasA", seed=1)
    _put(one, before)
    _wait(two, before)
    shared_redis.kill()
    here, there, last = (make_mask("HasA", seed=seed) for seed in (2, 3, 4))
    assert _put(one, here)["replicated"] is False
    assert _put(two, there)["replicated"] is False
    _delete(two, "PartOf")
    assert _digest(one, "HasA") == here.digest
    assert _digest(two, "HasA") == there.digest
    assert one.client.get("/ready").status_code == 200
    # It comes back empty; the later change holds.
    shared_redis.start()
    _wait(one, there)
    _wait(one, "PartOf")
    assert _digest(two, "HasA") == there.digest
    _put(one, last)
    _wait(two, last)


def test_a_redis_that_hangs_delays_no_question(
    one: Any, two: Any, shared_redis: RedisServer, make_mask: MakeMask
) -> None:
    mask = make_mask("MadeOf", seed=1)
    shared_redis.pause()
    try:
        with ThreadPoolExecutor(1) as pool:
            putting = pool.submit(_put, one, mask)
            asked = 0
            while not putting.done():
                started = time.monotonic()
                # The cache may wait for Redis, by a twentieth of a second; nothing waits longer.
                assert _digest(one, "CapableOf") is not None
                assert time.monotonic() - started < 10
                asked += 1
            assert putting.result()["replicated"] is False
        assert asked > 0
        assert _digest(one, "MadeOf") == mask.digest
    finally:
        shared_redis.resume()
    _wait(two, mask)


def test_garbage_in_redis_is_refused_and_told(
    one: Any, two: Any, shared_redis: RedisServer, base: BaseModel, make_mask: MakeMask
) -> None:
    name = f"relata:masks:{{{base.digest}}}"
    before = _digest(one, "HasProperty")
    with shared_redis.client() as client:
        client.hset(f"{name}:stamps", "hasproperty", f"1700000000000000:{'0' * 64}")
        client.hset(f"{name}:files", "hasproperty", b"\x00garbage")
        client.incr(f"{name}:version")
        # A message that says nothing is one more reason to look.
        client.publish(name, b"\xff")
    mask = make_mask("HasSubevent", seed=1)
    _put(one, mask)
    _wait(two, mask)
    for server in (one, two):
        _until(lambda server=server: _refused(server) != {})  # type: ignore[misc]
        assert _refused(server) == {"hasproperty": "it is not the file that its stamp names"}
        assert _digest(server, "HasProperty") == before
        assert server.log.read_text().count("redis/hasproperty is refused") == 1
    good = make_mask("HasProperty", seed=1)
    _put(two, good)
    _wait(one, good)
    _until(lambda: _refused(one) == {} == _refused(two))


def _refused(server: Any) -> dict[str, str]:
    refused = server.client.get("/masks").json()["refused"]
    return {entry["file"]: entry["reason"] for entry in refused if entry["pack"] == "redis"}


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_folder_of_uploads_changed_by_hand_reaches_the_others(
    one: Any, start_replica: Callable[..., Any], tmp_path: Path, make_mask: MakeMask
) -> None:
    uploads = tmp_path / "uploads"
    write_pack(uploads, [make_mask("NotDesires", seed=1)], name="mine")
    third = start_replica("--uploads", str(uploads), "--watch-seconds", "0.1")
    _wait(one, make_mask("NotDesires", seed=1))
    add_to_pack(uploads, make_mask("NotDesires", seed=2))
    _wait(third, make_mask("NotDesires", seed=2))
    _wait(one, make_mask("NotDesires", seed=2))
    # And what the others do is kept there.
    mask = make_mask("MotivatedByGoal", seed=1)
    _put(one, mask)
    _wait(third, mask)
    assert (uploads / "MotivatedByGoal.safetensors").read_bytes() == dump_mask(mask)
    assert _put(third, make_mask("IsA", seed=1))["persisted"] is True
    assert third.stop() == 0


def test_servers_stop_in_order_while_redis_hangs(
    start_replica: Callable[..., Any], shared_redis: RedisServer
) -> None:
    server = start_replica()
    shared_redis.pause()
    try:
        assert server.stop() == 0
    finally:
        shared_redis.resume()
    assert "Traceback" not in server.log.read_text()
