"""Whatever happens to Redis, it costs time: never an error, and never more time than agreed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from app.cache import RedisTier
from app.cache.redis_tier import PREFIX
from app.redis_address import RedisAddress
from tests.fake_redis import HangUpError, Values, array, fake_redis
from tests.redis_server import RedisServer

# Far more than Redis needs, so that a busy machine is not taken for a Redis that is silent.
PATIENT = 5.0
# What it may take until Redis is used again, on a busy machine.
RECOVERY = 60.0
KEYS = [bytes([number]) * 32 for number in range(4)]


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(300):
            await test()

    asyncio.run(timed())


@asynccontextmanager
async def opened(url: str, timeout: float = PATIENT) -> AsyncIterator[RedisTier]:
    tier = RedisTier(RedisAddress.parse(url), timeout=timeout, lifetime=600)
    await tier.open()
    try:
        yield tier
    finally:
        await tier.close()


async def until(condition: Callable[[], bool], seconds: float = RECOVERY) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def kept(tier: RedisTier, key: bytes, value: bytes) -> None:
    """Put a value and wait until it is there."""
    tier.put(key, value)
    async with asyncio.timeout(RECOVERY):
        while (await tier.get([key])).get(key) != value:
            await asyncio.sleep(0.01)


def test_what_one_puts_another_gets_for_a_limited_time(redis_server: RedisServer) -> None:
    async def test() -> None:
        async with opened(redis_server.url) as one, opened(redis_server.url) as other:
            assert one.up
            assert other.up
            await kept(one, KEYS[0], b"zero")
            await kept(one, KEYS[1], b"")
            assert await other.get(KEYS) == {KEYS[0]: b"zero", KEYS[1]: b""}
            assert (one.failures, one.refused) == (0, 0)

    run(test)
    with redis_server.client() as client:
        assert set(client.keys("*")) == {PREFIX + KEYS[0], PREFIX + KEYS[1]}
        assert 500 < client.ttl(PREFIX + KEYS[0]) <= 600


def test_thousands_of_keys_do_not_hold_up_a_single_one(redis_server: RedisServer) -> None:
    async def test() -> None:
        many = [number.to_bytes(32, "big") for number in range(5000)]
        async with opened(redis_server.url, timeout=60) as tier:
            for key in many:
                tier.put(key, key[-2:])
            await kept(tier, KEYS[1], b"one")
            long = asyncio.create_task(tier.get(many))
            await asyncio.sleep(0)
            assert await tier.get([KEYS[1]]) == {KEYS[1]: b"one"}
            assert not long.done()
            assert await long == {key: key[-2:] for key in many}

    run(test)


def test_lookups_at_once_travel_together() -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url) as tier:
                fake.delay = 0.05
                await asyncio.gather(*(tier.get([key]) for key in KEYS))
                # One is under way at once, and all others go with the next.
                assert [len(keys) for keys in fake.asked] in ([4], [1, 3])

    run(test)


def test_large_values_come_a_few_at_a_time() -> None:
    async def test() -> None:
        many = [number.to_bytes(32, "big") for number in range(50)]
        with fake_redis() as fake:
            fake.data = {PREFIX + key: bytes(100_000) for key in many}
            async with opened(fake.url, timeout=60) as tier:
                long = asyncio.create_task(tier.get(many, 100_000))
                await asyncio.sleep(0)
                assert await tier.get([KEYS[1]], 100) == {}
                assert len(await long) == len(many)
                assert max(len(keys) for keys in fake.asked) <= 12

    run(test)


def test_a_user_who_may_do_nothing_else_will_do(redis_server: RedisServer) -> None:
    async def test() -> None:
        with redis_server.client() as client:
            client.acl_setuser(
                "cache",
                enabled=True,
                passwords=["+s3cr3t-word"],
                keys=["relata:answer:*"],
                commands=["+mget", "+set"],
            )
        async with opened(f"redis://cache:s3cr3t-word@127.0.0.1:{redis_server.port}") as tier:
            await kept(tier, KEYS[0], b"zero")

    run(test)


def test_who_gives_up_disturbs_nobody(redis_server: RedisServer) -> None:
    async def test() -> None:
        async with opened(redis_server.url) as tier:
            await kept(tier, KEYS[0], b"zero")
            for _ in range(50):
                tasks = [asyncio.create_task(tier.get([KEYS[0]])) for _ in range(3)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                with suppress(asyncio.CancelledError):
                    await tasks[0]
                assert await tasks[1] == await tasks[2] == {KEYS[0]: b"zero"}
            assert tier.up
            assert tier.failures == 0

    run(test)


def test_a_start_without_redis_says_so_and_redis_is_used_when_it_comes(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        redis_server.kill()
        caplog.set_level(logging.INFO, logger="app")
        async with opened(redis_server.url) as tier:
            assert not tier.up
            assert await tier.get(KEYS) == {}
            tier.put(KEYS[0], b"zero")
            shown = redis_server.url
            assert f"Redis at {shown} is left alone until it answers: Connection" in caplog.text
            redis_server.start()
            await until(lambda: tier.up)
            assert f"answers are kept in Redis at {shown}" in caplog.text
            await kept(tier, KEYS[0], b"zero")
        # Once, however often it was tried.
        assert caplog.text.count("is left alone") == 1

    run(test)


def test_killed_and_restarted_under_use_it_raises_nothing(redis_server: RedisServer) -> None:
    async def test() -> None:
        async with opened(redis_server.url) as tier:
            await kept(tier, KEYS[0], b"zero")
            stop = asyncio.Event()

            async def use() -> int:
                found = 0
                while not stop.is_set():
                    found += len(await tier.get([KEYS[0]]))
                    tier.put(KEYS[0], b"zero")
                    await asyncio.sleep(0)
                return found

            using = [asyncio.create_task(use()) for _ in range(8)]
            for _ in range(2):
                await asyncio.to_thread(redis_server.kill)
                await until(lambda: not tier.up)
                await asyncio.to_thread(redis_server.start)
                await until(lambda: tier.up)
            await kept(tier, KEYS[1], b"one")
            stop.set()
            assert all(await asyncio.gather(*using))
            assert tier.failures >= 2

    run(test)


def test_paused_everybody_waits_once_at_most(redis_server: RedisServer) -> None:
    async def test() -> None:
        async with opened(redis_server.url, timeout=0.3) as tier:
            await until(lambda: tier.up)
            redis_server.pause()
            started = time.perf_counter()
            found = await asyncio.gather(*(tier.get([key]) for key in KEYS))
            waited = time.perf_counter() - started
            assert found == [{}] * len(KEYS)
            assert waited < 2
            await until(lambda: not tier.up, seconds=2)
            started = time.perf_counter()
            for _ in range(100):
                assert await tier.get(KEYS) == {}
            assert time.perf_counter() - started < 0.3
            # Connections are accepted meanwhile, but that alone is not enough to use it.
            await asyncio.sleep(2)
            assert not tier.up
            redis_server.resume()
            await until(lambda: tier.up)

    run(test)


def test_a_lookup_that_is_only_too_long_ends_in_time_and_breaks_nothing() -> None:
    async def test() -> None:
        many = [number.to_bytes(32, "big") for number in range(4000)]
        with fake_redis() as fake:
            fake.data = {PREFIX + key: b"x" for key in many}
            async with opened(fake.url, timeout=1.0) as tier:
                fake.delay = 0.4
                found = await tier.get(many)
                count = len(found)
                assert 0 < count < len(many)
                assert tier.up
                # Nor does it change what it has returned, when another reply comes.
                replies = len(fake.asked)
                await asyncio.sleep(1)
                assert len(fake.asked) <= replies + 1
                assert len(found) == count

    run(test)


def test_full_it_is_read_and_used_again_when_there_is_room(redis_server: RedisServer) -> None:
    async def test() -> None:
        async with opened(redis_server.url) as tier:
            await kept(tier, KEYS[0], b"zero")
            redis_server.fill()
            tier.put(KEYS[1], b"one")
            await until(lambda: tier.refused > 0)
            assert await tier.get(KEYS) == {KEYS[0]: b"zero"}
            assert tier.up
            redis_server.drain()
            async with asyncio.timeout(RECOVERY):
                while KEYS[1] not in await tier.get(KEYS):
                    tier.put(KEYS[1], b"one")
                    await asyncio.sleep(0.1)
            assert tier.failures == 0

    run(test)


def test_a_replica_is_read(start_redis_server: Callable[[], RedisServer]) -> None:
    original, replica = start_redis_server(), start_redis_server()

    async def test() -> None:
        async with opened(original.url) as writer:
            await kept(writer, KEYS[0], b"zero")
        with replica.client() as client:
            client.replicaof("127.0.0.1", original.port)
        async with opened(replica.url) as tier:
            async with asyncio.timeout(RECOVERY):
                while KEYS[0] not in await tier.get(KEYS):
                    await asyncio.sleep(0.05)
            tier.put(KEYS[1], b"one")
            await until(lambda: tier.refused > 0)
            assert await tier.get(KEYS) == {KEYS[0]: b"zero"}

    run(test)


@pytest.mark.parametrize("given", ["", ":wrong-s3cr3t@", "nobody:wrong-s3cr3t@"])
def test_a_wrong_password_is_logged_but_never_shown(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    caplog.set_level(logging.DEBUG)

    async def test() -> None:
        with redis_server.client() as client:
            client.config_set("requirepass", "right/s3cr3t")
        at = f"127.0.0.1:{redis_server.port}"
        async with opened(f"redis://{given}{at}/0") as tier:
            assert not tier.up
            assert await tier.get(KEYS) == {}
            assert f"Redis at redis://{at}/0 is left alone until it answers: Auth" in caplog.text
        async with opened(f"redis://:right%2Fs3cr3t@{at}/0") as tier:
            await kept(tier, KEYS[0], b"zero")
        assert "s3cr3t" not in caplog.text

    run(test)


def test_another_database_is_another_cache(redis_server: RedisServer) -> None:
    async def test() -> None:
        other = redis_server.url.removesuffix("0") + "1"
        async with opened(redis_server.url) as one, opened(other) as two:
            await kept(one, KEYS[0], b"zero")
            await kept(two, KEYS[1], b"one")
            assert await one.get(KEYS) == {KEYS[0]: b"zero"}
            assert await two.get(KEYS) == {KEYS[1]: b"one"}

    run(test)


def test_a_socket_will_do(tmp_path: Path) -> None:
    async def test() -> None:
        with fake_redis(tmp_path / "redis.sock") as fake:
            async with opened(fake.url) as tier:
                await kept(tier, KEYS[0], b"zero")

    run(test)


def _nested(_: Sequence[bytes], __: Values) -> bytes:
    return b"*1\r\n" * 100_000


def _hang_up(_: Sequence[bytes], __: Values) -> bytes:
    raise HangUpError(b"*4\r\n$3\r\nab")


NONSENSE: dict[str, Callable[[Sequence[bytes], Values], bytes]] = {
    "another protocol": lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": lambda *_: b"\0" * 100,
    "a string": lambda *_: b"+OK\r\n",
    "a number": lambda *_: b":7\r\n",
    "no number": lambda *_: b"*x\r\n",
    "a length below zero": lambda *_: b"*4\r\n$-7\r\n",
    "nothing": lambda *_: b"*-1\r\n",
    "too few values": lambda _, values: array(values[1:]),
    "too many values": lambda _, values: array([*values, b"x"]),
    "arrays without end": _nested,
    "a value without end": lambda *_: b"*4\r\n$99999999999\r\nab",
    "half a reply and gone": _hang_up,
    "an error": lambda *_: b"-ERR it is\tnot\x1b[31m well\r\n",
    "loading": lambda *_: b"-LOADING Redis is loading the dataset in memory\r\n",
    "no permission": lambda *_: b"-NOPERM this user has no permissions\r\n",
    "elsewhere": lambda *_: b"-MOVED 3999 127.0.0.1:6381\r\n",
    "no answer": lambda *_: b"",
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_ends_its_use_until_it_answers_well(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url, timeout=1.0) as tier:
                await kept(tier, KEYS[0], b"zero")
                fake.reply = NONSENSE[kind]
                assert await tier.get(KEYS) == {}
                await until(lambda: not tier.up or tier.failures > 0)
                assert tier.failures >= 1
                assert all(ord(" ") <= ord(letter) < 127 for letter in caplog.messages[-1])
                fake.reply = None
                async with asyncio.timeout(RECOVERY):
                    while await tier.get(KEYS) != {KEYS[0]: b"zero"}:
                        await asyncio.sleep(0.01)

    run(test)


@pytest.mark.parametrize(
    "values",
    [
        b":7\r\n:8\r\n+x\r\n*0\r\n",
        b"*1\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n$0\r\n\r\n",
    ],
)
def test_single_values_may_be_anything_for_whoever_checks_them(values: bytes) -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url) as tier:
                fake.reply = lambda *_: b"*4\r\n" + values
                assert set(await tier.get(KEYS)) <= set(KEYS)
                assert tier.up

    run(test)


def test_nobody_waits_for_a_connection_that_broke() -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url, timeout=200) as tier:
                fake.reply = _hang_up

                async def use() -> None:
                    while tier.failures < 3:
                        await tier.get(KEYS)
                        await asyncio.sleep(0)

                async with asyncio.timeout(RECOVERY):
                    await asyncio.gather(*(use() for _ in range(8)))

    run(test)


def test_half_open_connections_are_given_up_for_new_ones() -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url, timeout=0.5) as tier:
                await kept(tier, KEYS[0], b"zero")
                fake.stall()
                assert await tier.get(KEYS) == {}
                await until(lambda: tier.failures == 1)
                await until(lambda: tier.up)
                assert await tier.get(KEYS) == {KEYS[0]: b"zero"}

    run(test)


def test_writes_that_hang_end_its_use_too() -> None:
    async def test() -> None:
        with fake_redis() as fake:
            async with opened(fake.url) as tier:
                await kept(tier, KEYS[0], b"zero")
                fake.stall()
                tier.put(KEYS[1], b"one")
                await until(lambda: tier.failures == 1)
                await until(lambda: tier.up)
                await kept(tier, KEYS[1], b"one")

    run(test)


def test_slow_connections_at_the_start_hold_up_nobody_for_long() -> None:
    async def test() -> None:
        with fake_redis() as fake:
            fake.delay = 20
            started = time.perf_counter()
            async with opened(fake.url) as tier:
                assert not tier.up
            assert time.perf_counter() - started < 15

    run(test)


def test_writes_are_dropped_rather_than_piled_up(
    start_redis_server: Callable[[], RedisServer],
) -> None:
    server = start_redis_server()

    async def test() -> None:
        async with opened(server.url) as tier:
            value = bytes(2**20)
            # All before the writer has its first turn.
            for number in range(100):
                tier.put(number.to_bytes(32, "big"), value)
            with server.client() as client:
                await until(lambda: client.dbsize() == 8)
                await kept(tier, KEYS[1], b"one")
                assert client.dbsize() == 8 + 1

    run(test)


def test_closing_works_in_every_state(redis_server: RedisServer) -> None:
    async def test() -> None:
        never = RedisTier(RedisAddress.parse(redis_server.url), timeout=1, lifetime=60)
        await never.close()
        async with opened(redis_server.url) as tier:
            tier.put(KEYS[0], b"zero")
            waiting = asyncio.create_task(tier.get(KEYS))
            await asyncio.sleep(0)
        assert await waiting == {}
        assert not tier.up
        assert await tier.get(KEYS) == {}
        tier.put(KEYS[0], b"zero")
        redis_server.pause()
        async with opened(redis_server.url) as tier:
            assert not tier.up
        redis_server.resume()

    run(test)
