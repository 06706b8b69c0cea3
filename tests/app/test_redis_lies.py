"""A Redis that lies: values that are not those that were put there cost a miss, nothing more."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from app.batcher import Outcome
from app.cache import AnswerCache, AnswerKeys, Answers, MemoryTier, RedisTier, Source
from app.redis_address import RedisAddress
from plm import (
    BaseModel,
    EncodedRow,
    Probe,
    Reading,
    TokenScores,
    TopTokens,
    answer_token_ids,
)
from tests.fake_redis import FakeRedis, Values, array, bulk, fake_redis

COUNT = 4
PATIENT = 30.0


def top_probe(number: int) -> Probe:
    return Probe(EncodedRow((number,), (0,)), None, TopTokens(3))


def score_probe(number: int) -> Probe:
    tokens = np.arange(6, dtype=np.int32).reshape(2, 3)
    return Probe(EncodedRow((number, 1), (0, 1)), None, TokenScores(tokens))


PROBES = [
    *(top_probe(number) for number in range(COUNT)),
    *(score_probe(number) for number in range(COUNT)),
]


def truth(probe: Probe) -> Reading:
    """What the model of these tests says: to each probe something else."""
    number = probe.row.input_ids[0]
    if isinstance(probe.wanted, TokenScores):
        scores = -np.arange(6, dtype=np.float32).reshape(2, 3) - number
        return Reading(scores, None)
    scores = -np.arange(3, dtype=np.float32) - number
    return Reading(scores, np.arange(number, number + 3, dtype=np.int32))


async def ask(probes: Sequence[Probe]) -> Outcome[Reading]:
    return Outcome(tuple(map(truth, probes)), 0.0, 0.0)


@asynccontextmanager
async def opened(base: BaseModel, fake: FakeRedis) -> AsyncIterator[AnswerCache]:
    """A cache of its own, as a replica has it, that shares the fake."""
    redis = RedisTier(RedisAddress.parse(fake.url), timeout=PATIENT, lifetime=60)
    cache = AnswerCache(AnswerKeys(base, answer_token_ids(base)), MemoryTier(2**20), redis)
    await cache.open()
    try:
        yield cache
    finally:
        await cache.close()


async def fill(base: BaseModel, fake: FakeRedis) -> None:
    async with opened(base, fake) as cache:
        await cache.read(PROBES, ask)
        async with asyncio.timeout(60):
            while len(fake.data) < len(PROBES):
                await asyncio.sleep(0.01)


def check(answers: Answers) -> None:
    for probe, result in zip(PROBES, answers.results, strict=True):
        expected = truth(probe)
        assert isinstance(result, Reading)
        np.testing.assert_array_equal(result.log_probs, expected.log_probs)
        assert (result.token_ids is None) == (expected.token_ids is None)
        if expected.token_ids is not None:
            np.testing.assert_array_equal(result.token_ids, expected.token_ids)


def test_another_replica_reads_what_one_has_found(base: BaseModel) -> None:
    async def test() -> None:
        with fake_redis() as fake:
            await fill(base, fake)
            async with opened(base, fake) as cache:
                answers = await cache.read(PROBES, ask)
                check(answers)
                assert set(answers.sources) == {Source.REDIS}
                # From now on memory has them.
                again = await cache.read(PROBES, ask)
                check(again)
                assert set(again.sources) == {Source.MEMORY}
                stats = cache.stats()
                assert (stats.redis_hits, stats.memory_hits) == (len(PROBES), len(PROBES))
                assert (stats.misses, stats.errors, stats.redis_up) == (0, 0, True)

    asyncio.run(test())


def _flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


def _each(change: Callable[[bytes], bytes | None]) -> Callable[[Sequence[bytes], Values], bytes]:
    return lambda _, values: array([value and change(value) for value in values])


# What a reply is made of that has as many values as keys, so that only they are wrong.
LIES: dict[str, Callable[[Sequence[bytes], Values], bytes]] = {
    "values of other keys": lambda _, values: array([*values[1:], values[0]]),
    "values in reverse": lambda _, values: array(values[::-1]),
    "one value for all": lambda _, values: array([values[0]] * len(values)),
    "no value": _each(lambda _: b""),
    "a value cut short": _each(lambda value: value[:-1]),
    "a value without its beginning": _each(lambda value: value[1:]),
    "a value cut to its seal": _each(lambda value: value[:16]),
    "a value and more": _each(lambda value: value + b"\0"),
    "a value twice": _each(lambda value: value * 2),
    "a bit of the seal": _each(lambda value: _flip(value, 3)),
    "a bit of the content": _each(lambda value: _flip(value, 16 * 8 + 5)),
    "the last bit": _each(lambda value: _flip(value, len(value) * 8 - 1)),
    "zeros": _each(lambda value: bytes(len(value))),
    "text": _each(lambda _: b"a cached answer"),
    "numbers": lambda _, values: b"*%d\r\n" % len(values) + b":42\r\n" * len(values),
    "arrays": lambda _, values: (
        b"*%d\r\n" % len(values) + b"".join(b"*1\r\n" + bulk(value) for value in values)
    ),
    "errors": lambda _, values: b"*%d\r\n" % len(values) + b"-ERR no\r\n" * len(values),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_lie_is_told_and_the_model_asked(base: BaseModel, kind: str) -> None:
    async def test() -> None:
        with fake_redis() as fake:
            await fill(base, fake)
            fake.reply = LIES[kind]
            async with opened(base, fake) as cache:
                answers = await cache.read(PROBES, ask)
                check(answers)
                # Where one value goes for all, it is right for one.
                assert answers.sources.count(Source.REDIS) <= 1
                assert cache.stats().errors >= len(PROBES) - 1
                check(await cache.read(PROBES, ask))

    asyncio.run(test())


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_is_told(base: BaseModel, seed: int) -> None:
    random = np.random.default_rng(seed)

    def damage(value: bytes) -> bytes:
        changed = bytearray(value)
        for _ in range(int(random.integers(1, 5))):
            changed[int(random.integers(len(changed)))] ^= int(random.integers(1, 256))
        return bytes(changed[: int(random.integers(len(changed) // 2, len(changed) + 1))])

    async def test() -> None:
        with fake_redis() as fake:
            await fill(base, fake)
            for key, value in fake.data.items():
                damaged = damage(value)
                fake.data[key] = damaged if damaged != value else b""
            async with opened(base, fake) as cache:
                answers = await cache.read(PROBES, ask)
                check(answers)
                assert set(answers.sources) == {Source.MODEL}
                assert cache.stats().errors == len(PROBES)

    asyncio.run(test())


def test_what_was_damaged_is_mended(base: BaseModel) -> None:
    async def test() -> None:
        with fake_redis() as fake:
            await fill(base, fake)
            good = dict(fake.data)
            fake.data = dict.fromkeys(good, b"damaged")
            async with opened(base, fake) as cache:
                check(await cache.read(PROBES, ask))
                async with asyncio.timeout(60):
                    while fake.data != good:
                        await asyncio.sleep(0.01)

    asyncio.run(test())


def test_what_is_too_large_to_be_worth_sending_stays_here(base: BaseModel) -> None:
    """A reading of more than 64 KiB, as of a whole vocabulary."""

    def probe(count: int) -> Probe:
        tokens = np.arange(count, dtype=np.int32).reshape(1, count)
        return Probe(EncodedRow((1,), (0,)), None, TokenScores(tokens))

    async def scores(probes: Sequence[Probe]) -> Outcome[Reading]:
        readings = []
        for one in probes:
            assert isinstance(one.wanted, TokenScores)
            readings.append(Reading(one.wanted.tokens.astype(np.float32), None))
        return Outcome(tuple(readings), 0.0, 0.0)

    async def test() -> None:
        large, small = probe(2**14 + 1), probe(2**14)
        with fake_redis() as fake:
            async with opened(base, fake) as cache:
                await cache.read([large, small], scores)
                async with asyncio.timeout(60):
                    while not fake.data:
                        await asyncio.sleep(0.01)
                again = await cache.read([large, small], scores)
                assert set(again.sources) == {Source.MEMORY}
            async with opened(base, fake) as other:
                answers = await other.read([large, small], scores)
                assert answers.sources == (Source.MODEL, Source.REDIS)
            assert len(fake.data) == 1
            assert [len(keys) for keys in fake.asked] == [1, 1]

    asyncio.run(test())
