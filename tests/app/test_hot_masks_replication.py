"""Changes of masks through a real Redis, whatever happens to it, without HTTP."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

import app.changes.replication
import app.changes.shared
from app.changes import HotMasks, MaskRegister
from app.changes.change import Change
from app.changes.stamps import Stamp
from app.conditions import Conditions
from app.errors import PreconditionError
from app.settings import Settings
from masks import RelationMask, dump_mask
from plm import BaseModel
from tests.conftest import StartRedis
from tests.redis_server import RedisServer

Value = TypeVar("Value")
MakeMask = Callable[..., RelationMask]
NONE = Conditions()
# Many on a machine that is busy.
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.changes.replication, "_COMPARE_SECONDS", 0.1)
    monkeypatch.setattr(app.changes.replication, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(app.changes.shared, "_REPLY_SECONDS", 0.5)
    monkeypatch.setattr(app.changes.replication, "_PATIENCE_SECONDS", 0.5)


class Replica:
    """A register and what keeps it current."""

    def __init__(self, base: BaseModel, url: str, uploads: Path | None = None) -> None:
        settings = Settings(redis_url=url, watch_seconds=0, max_mask_bytes="64KiB")  # type: ignore[arg-type]
        self.register = MaskRegister.load(base, [], uploads)
        self.hot = HotMasks(settings, self.register)

    async def put(self, mask: RelationMask) -> bool | None:
        return (await self.hot.put(mask.relation, dump_mask(mask), NONE)).replicated

    def digests(self) -> dict[str, str]:
        served = self.register.catalogue.served
        return {relation: mask.mask.digest for relation, mask in served.items()}

    async def becomes(self, *masks: RelationMask) -> None:
        """Wait until these are served, and no other."""
        wanted = {mask.relation: mask.digest for mask in masks}
        await _until(lambda: self.digests() == wanted, lambda: f"{self.digests()} != {wanted}")


async def _until(holds: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, explain()
        await asyncio.sleep(0.02)


@pytest.fixture
def replicas(base: BaseModel, redis_server: RedisServer) -> Callable[..., Any]:
    @asynccontextmanager
    async def open_(count: int = 2, uploads: Path | None = None) -> AsyncIterator[list[Replica]]:
        started = [Replica(base, redis_server.url, uploads) for _ in range(count)]
        for replica in started:
            await replica.hot.open()
        yield started
        for replica in started:
            await replica.hot.close()

    return open_


def _run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def _names(base: BaseModel) -> dict[str, str]:
    name = f"relata:masks:{{{base.digest}}}"
    return {part: f"{name}:{part}" for part in ("stamps", "files", "version")}


@pytest.fixture
def keys(base: BaseModel) -> dict[str, str]:
    return _names(base)


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


def test_what_one_changes_all_serve(replicas: Any, make_mask: MakeMask) -> None:
    async def test() -> None:
        async with replicas(3) as (one, two, three):
            first, second = make_mask("IsA"), make_mask("HasA")
            assert await one.put(first)
            assert await two.put(second)
            for replica in (one, two, three):
                await replica.becomes(first, second)
            newer = make_mask("IsA", seed=1)
            assert await three.put(newer)
            await one.hot.delete("HasA", NONE)
            for replica in (one, two, three):
                await replica.becomes(newer)
            assert two.hot.counts() == {"put": 1, "delete": 0, "reload": 0, "replica": 3}

    _run(test)


def test_keys_have_the_prefix_and_never_expire(
    replicas: Any, make_mask: MakeMask, raw: redis.Redis, keys: dict[str, str]
) -> None:
    async def test() -> None:
        async with replicas(1) as (one,):
            await one.put(make_mask("IsA"))
            await one.hot.delete("IsA", NONE)
            await one.put(make_mask("HasA"))

    _run(test)
    assert {key.decode() for key in raw.keys("*")} == set(keys.values())
    assert {raw.ttl(key) for key in keys.values()} == {-1}
    assert raw.hgetall(keys["files"]) == {b"isa": b"", b"hasa": dump_mask(make_mask("HasA"))}


def test_who_starts_later_has_all_before_it_is_ready(
    replicas: Any, base: BaseModel, redis_server: RedisServer, make_mask: MakeMask
) -> None:
    async def test() -> None:
        masks = [make_mask(name) for name in ("IsA", "HasA", "PartOf")]
        async with replicas(1) as (one,):
            for mask in masks:
                await one.put(mask)
        late = Replica(base, redis_server.url)
        await late.hot.open()
        assert set(late.digests()) == {"IsA", "HasA", "PartOf"}
        await late.hot.close()

    _run(test)


def test_a_lost_message_is_made_up_for(
    replicas: Any, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = app.changes.shared._WRITE.replace("redis.call('PUBLISH', ARGV[4], ARGV[1])", "")
    assert silent != app.changes.shared._WRITE
    monkeypatch.setattr(app.changes.shared, "_WRITE", silent)

    async def test() -> None:
        async with replicas() as (one, two):
            mask = make_mask("IsA")
            assert await one.put(mask)
            await two.becomes(mask)

    _run(test)


def test_a_change_is_made_by_its_message_and_not_by_the_clock(
    replicas: Any, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.changes.replication, "_COMPARE_SECONDS", 1000.0)

    async def test() -> None:
        async with replicas() as (one, two):
            for seed in range(5):
                mask = make_mask("IsA", seed=seed)
                assert await one.put(mask)
                await two.becomes(mask)

    _run(test)


def test_while_redis_is_gone_changes_hold_here_and_are_told_when_it_returns(
    replicas: Any, redis_server: RedisServer, make_mask: MakeMask, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with replicas() as (one, two):
            before, newer, other = make_mask("IsA"), make_mask("IsA", seed=1), make_mask("HasA")
            await one.put(before)
            await two.becomes(before)
            redis_server.kill()
            assert await one.put(newer) is False
            assert await two.put(other) is False
            await one.becomes(newer)
            await two.becomes(before, other)
            # It returns empty.
            redis_server.start()
            await one.becomes(newer, other)
            await two.becomes(newer, other)
            assert await one.put(before)
            await two.becomes(before, other)

    _run(test)
    assert caplog.text.count("masks are not shared until Redis at redis://127.0.0.1") == 2


def test_of_changes_made_apart_the_later_holds_everywhere(
    replicas: Any, redis_server: RedisServer, make_mask: MakeMask
) -> None:
    async def test() -> None:
        async with replicas() as (one, two):
            redis_server.kill()
            await one.put(make_mask("IsA", seed=1))
            await two.put(make_mask("IsA", seed=2))
            await two.put(make_mask("HasA", seed=1))
            await two.hot.delete("HasA", NONE)
            await one.put(make_mask("HasA", seed=2))
            redis_server.start()
            for replica in (one, two):
                await replica.becomes(make_mask("IsA", seed=2), make_mask("HasA", seed=2))

    _run(test)


def test_a_redis_that_hangs_delays_a_change_by_its_patience_only(
    replicas: Any, redis_server: RedisServer, make_mask: MakeMask
) -> None:
    async def test() -> None:
        async with replicas() as (one, two):
            redis_server.pause()
            mask = make_mask("IsA")
            started = time.monotonic()
            assert await one.put(mask) is False
            assert time.monotonic() - started < 20
            await one.becomes(mask)
            redis_server.resume()
            await two.becomes(mask)

    _run(test)


def test_a_start_does_not_wait_for_a_redis_that_hangs(
    base: BaseModel, redis_server: RedisServer, make_mask: MakeMask, replicas: Any
) -> None:
    async def test() -> None:
        async with replicas(1) as (one,):
            await one.put(make_mask("IsA"))
        redis_server.pause()
        late = Replica(base, redis_server.url)
        started = time.monotonic()
        await late.hot.open()
        assert time.monotonic() - started < 20
        assert late.digests() == {}
        redis_server.resume()
        await late.becomes(make_mask("IsA"))
        await late.hot.close()

    _run(test)


def test_a_full_redis_takes_nothing_and_still_gives(
    replicas: Any, redis_server: RedisServer, base: BaseModel, make_mask: MakeMask
) -> None:
    async def test() -> None:
        async with replicas() as (one, two):
            await one.put(make_mask("IsA"))
            await two.becomes(make_mask("IsA"))
            redis_server.fill()
            assert await one.put(make_mask("HasA")) is False
            late = Replica(base, redis_server.url)
            await late.hot.open()
            await late.becomes(make_mask("IsA"))
            redis_server.drain()
            for replica in (two, late):
                await replica.becomes(make_mask("IsA"), make_mask("HasA"))
            await late.hot.close()

    _run(test)


def test_garbage_is_refused_and_the_rest_is_served(
    replicas: Any,
    raw: redis.Redis,
    keys: dict[str, str],
    make_mask: MakeMask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 1_700_000_000_000_000
    good, foreign = make_mask("IsA"), make_mask("HasA", base_digest="sha256:" + "f" * 64)

    def stamp(data: bytes, clock: int = now) -> str:
        return Stamp(clock, sha256(data).hexdigest() if data else "").text

    entries: dict[str | bytes, tuple[str | bytes, bytes | None]] = {
        "isa": (stamp(dump_mask(good)), dump_mask(good)),
        "hasa": (stamp(dump_mask(foreign)), dump_mask(foreign)),
        "partof": (stamp(b"garbage"), b"garbage"),
        "causes": (stamp(b"one"), b"another"),
        "desires": (stamp(dump_mask(good)), dump_mask(good)),
        "usedfor": (stamp(b"x" * 70_000), b"x" * 70_000),
        "madeof": (stamp(b"gone"), None),
        "hasproperty": (stamp(b""), b"but a file"),
        "hassubevent": ("9999999999999999:", b""),
        "capableof": (b"\xff\xfe", b""),
        b"\x00\xff/../": (stamp(b""), b""),
        "UsedFor": (stamp(b""), b""),
    }
    for key, (text, data) in entries.items():
        raw.hset(keys["stamps"], key, text)
        if data is not None:
            raw.hset(keys["files"], key, data)
    raw.set(keys["version"], "garbage")

    async def test() -> None:
        async with replicas() as (one, two):
            for replica in (one, two):
                await replica.becomes(good)
                refused = replica.register.catalogue.refused
                assert {file.pack for file in refused} == {"redis"}
                reasons = {file.file: file.reason for file in refused}
                for key, reason in {
                    "hasa": "was made for base",
                    "partof": "bytes",
                    "causes": "not the file that its stamp names",
                    "desires": "the mask of relation IsA",
                    "usedfor": "70000 bytes, but RELATA_MAX_MASK_BYTES is 65536",
                    "madeof": "there is no file",
                    "hasproperty": "not the file that its stamp names",
                    "hassubevent": "years ahead",
                    "capableof": "no stamp",
                    r"\x00\\xff/../": "is not a name",
                    "UsedFor": "no capital letters",
                }.items():
                    assert reason in reasons.pop(key), key
                assert reasons == {}
            # A change that is good takes the place of one that was not.
            wanted = [good]
            for relation in ("PartOf", "HasSubevent", "CapableOf", "Causes"):
                wanted.append(make_mask(relation))
                assert await one.put(wanted[-1])
            for replica in (one, two):
                await replica.becomes(*wanted)

    _run(test)
    # Told once by each of two, however often it is looked at.
    for key in ("hasa", "usedfor", "hassubevent"):
        assert caplog.text.count(f"redis/{key} is refused") in (2, 4)


def test_keys_of_another_type_cost_replication_only(
    replicas: Any, raw: redis.Redis, keys: dict[str, str], make_mask: MakeMask
) -> None:
    raw.set(keys["stamps"], "garbage")

    async def test() -> None:
        async with replicas() as (one, two):
            mask = make_mask("IsA")
            assert await one.put(mask) is False
            await one.becomes(mask)
            raw.delete(keys["stamps"])
            await two.becomes(mask)

    _run(test)


@pytest.mark.parametrize("version", ["inf", "nan", "-1", "1e300", "9007199254740993", "x"])
def test_a_version_that_is_damaged_starts_anew(
    replicas: Any, raw: redis.Redis, keys: dict[str, str], make_mask: MakeMask, version: str
) -> None:
    raw.set(keys["version"], version)

    async def test() -> None:
        async with replicas(1) as (one,):
            await one.put(make_mask("IsA"))
            first = int(raw.get(keys["version"]))  # type: ignore[arg-type]
            await one.put(make_mask("IsA", seed=1))
            assert int(raw.get(keys["version"])) > first > 1_700_000_000_000_000  # type: ignore[arg-type]

    _run(test)


def test_redis_keeps_the_later_change_whoever_comes_last(
    replicas: Any, base: BaseModel, raw: redis.Redis, keys: dict[str, str], make_mask: MakeMask
) -> None:
    async def test() -> None:
        async with replicas(1) as (one,):
            await one.put(make_mask("IsA"))
            old = one.register.changes()["isa"]
            await one.put(make_mask("IsA", seed=1))
            new = one.register.changes()["isa"]
            version = raw.get(keys["version"])
            for change in (old, new, Change("isa", Stamp(old.stamp.clock, ""), None)):
                assert await one.hot._replication.spread(change)  # type: ignore[union-attr]
            assert raw.hget(keys["stamps"], "isa") == new.stamp.text.encode()
            assert raw.hget(keys["files"], "isa") == dump_mask(make_mask("IsA", seed=1))
            assert raw.get(keys["version"]) == version

    _run(test)


def test_a_condition_knows_what_other_replicas_did(
    replicas: Any, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither messages nor the clock.
    monkeypatch.setattr(app.changes.replication, "_COMPARE_SECONDS", 1000.0)
    monkeypatch.setattr(
        app.changes.replication.Replication, "_listen", lambda *_: asyncio.sleep(1000)
    )

    async def test() -> None:
        async with replicas() as (one, two):
            await one.put(make_mask("IsA"))
            data = dump_mask(make_mask("IsA", seed=1))
            with pytest.raises(PreconditionError):
                await two.hot.put("IsA", data, Conditions(if_none_match="*"))
            tag = f'"{one.register.changes()["isa"].stamp.sha256}"'
            assert (await two.hot.put("IsA", data, Conditions(if_match=tag))).replicated

    _run(test)


def test_what_came_from_redis_is_kept_in_the_folder_of_uploads(
    replicas: Any, base: BaseModel, tmp_path: Path, make_mask: MakeMask
) -> None:
    async def test() -> None:
        async with replicas(1) as (one,), replicas(2, tmp_path / "uploads") as (two, three):
            await one.put(make_mask("IsA"))
            await one.put(make_mask("HasA"))
            await one.hot.delete("IsA", NONE)
            for replica in (two, three):
                await replica.becomes(make_mask("HasA"))
            assert one.register.changes().keys() == two.register.changes().keys()

    _run(test)
    alone = MaskRegister.load(base, [], tmp_path / "uploads")
    assert alone.catalogue.relations == ("HasA",)
    assert set(alone.changes()) == {"isa", "hasa"}


def test_a_persistent_redis_brings_a_whole_fleet_back(
    start_redis_server: StartRedis, base: BaseModel, make_mask: MakeMask
) -> None:
    server = start_redis_server(persistent=True)

    async def test() -> None:
        one = Replica(base, server.url)
        await one.hot.open()
        await one.put(make_mask("IsA"))
        await one.hot.close()
        server.restart()
        two = Replica(base, server.url)
        await two.hot.open()
        await two.becomes(make_mask("IsA"))
        await two.hot.close()

    _run(test)


def test_nothing_is_logged_of_a_password(
    base: BaseModel, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        url = redis_server.url.replace("127.0.0.1", ":s3cr3t-word@127.0.0.1")
        replica = Replica(base, url)
        await replica.hot.open()
        await replica.hot.close()

    _run(test)
    assert "masks are not shared until" in caplog.text
    assert "s3cr3t-word" not in caplog.text
