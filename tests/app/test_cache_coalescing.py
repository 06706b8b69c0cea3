"""Many ask the same at once: the model is asked once, and nobody suffers from another's fate."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest

from app.batcher import Outcome
from app.cache import AnswerCache, AnswerKeys, Answers, MemoryTier, Source
from plm import BaseModel, EncodedRow, Probe, Reading, TopTokens, answer_token_ids

MEMORY, SHARED, MODEL = Source.MEMORY, Source.SHARED, Source.MODEL


def probe(number: int) -> Probe:
    return Probe(EncodedRow((number,), (0,)), None, TopTokens(1))


def numbers(answers: Answers) -> list[int]:
    """What the model of these tests says to a probe is the probe's number."""
    return [
        int(result.token_ids[0])
        for result in answers.results
        if isinstance(result, Reading) and result.token_ids is not None
    ]


@dataclass
class Model:
    """Answers once it is let go, each job at its own time."""

    failing: set[int] = field(default_factory=set)
    asked: list[list[int]] = field(default_factory=list)
    gates: list[asyncio.Event] = field(default_factory=list)
    open: bool = False

    async def ask(self, probes: Sequence[Probe]) -> Outcome[Reading]:
        job = [probe.row.input_ids[0] for probe in probes]
        gate = asyncio.Event()
        self.asked.append(job)
        self.gates.append(gate)
        if not self.open:
            await gate.wait()
        return Outcome(tuple(self._answer(number) for number in job), 0.5, 0.25)

    def _answer(self, number: int) -> Reading | Exception:
        if number in self.failing:
            return ValueError(number)
        return Reading(np.zeros(1, dtype=np.float32), np.array([number], dtype=np.int32))

    async def until_asked(self, times: int) -> None:
        while len(self.asked) < times:
            await asyncio.sleep(0)


Play = Callable[[AnswerCache, Model], Awaitable[None]]


@pytest.fixture
def play(base: BaseModel) -> Callable[[Play], None]:
    """Run a test on an event loop, with a cache and a model of its own."""

    def run(test: Play) -> None:
        async def timed() -> None:
            async with asyncio.timeout(60):
                await test(_cache(base), Model())

        asyncio.run(timed())

    return run


def _cache(base: BaseModel, capacity: int = 2**20) -> AnswerCache:
    return AnswerCache(AnswerKeys(base, answer_token_ids(base)), MemoryTier(capacity), None)


def _start(cache: AnswerCache, model: Model, *wanted: int) -> "asyncio.Task[Answers]":
    return asyncio.create_task(cache.read([probe(number) for number in wanted], model.ask))


async def _settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_second_time_memory_answers(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.open = True
        first = await cache.read([probe(1), probe(2)], model.ask)
        again = await cache.read([probe(2), probe(3), probe(1)], model.ask)
        assert model.asked == [[1, 2], [3]]
        assert numbers(first) == [1, 2]
        assert numbers(again) == [2, 3, 1]
        assert first.sources == (MODEL, MODEL)
        assert again.sources == (MEMORY, MODEL, MEMORY)
        stats = cache.stats()
        assert (stats.memory_hits, stats.misses, stats.entries) == (2, 3, 3)
        assert 0 < stats.bytes <= stats.capacity
        assert stats.redis_up is None

    play(test)


def test_times_are_those_of_the_model_or_nothing(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.open = True
        asked = await cache.read([probe(1)], model.ask)
        remembered = await cache.read([probe(1)], model.ask)
        assert (asked.queue_seconds, asked.infer_seconds) == (0.5, 0.25)
        assert (remembered.queue_seconds, remembered.infer_seconds) == (0.0, 0.0)

    play(test)


def test_one_request_asks_the_same_once(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.open = True
        answers = await cache.read([probe(1), probe(2), probe(1)], model.ask)
        assert model.asked == [[1, 2]]
        assert numbers(answers) == [1, 2, 1]
        assert answers.sources == (MODEL, MODEL, SHARED)

    play(test)


def test_requests_at_once_ask_the_same_once(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        tasks = [_start(cache, model, 1) for _ in range(50)]
        await _settle()
        assert model.asked == [[1]]
        model.gates[0].set()
        answers = await asyncio.gather(*tasks)
        assert [numbers(one) for one in answers] == [[1]] * 50
        assert [one.sources for one in answers] == [(MODEL,)] + [(SHARED,)] * 49
        assert model.asked == [[1]]

    play(test)


def test_two_that_need_each_others_probes_do_not_wait_for_ever(
    play: Callable[[Play], None],
) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        first = _start(cache, model, 1, 2)
        await model.until_asked(1)
        second = _start(cache, model, 2, 3, 1)
        await model.until_asked(2)
        assert model.asked == [[1, 2], [3]]
        model.gates[1].set()
        model.gates[0].set()
        assert numbers(await first) == [1, 2]
        assert numbers(await second) == [2, 3, 1]

    play(test)


def test_when_who_asks_goes_away_one_of_the_others_takes_over(
    play: Callable[[Play], None],
) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        tasks = [_start(cache, model, 1) for _ in range(4)]
        await _settle()
        for gone in range(2):
            tasks[gone].cancel()
            await _settle()
            assert model.asked == [[1]] * (gone + 2)
        model.gates[-1].set()
        answers = await asyncio.gather(*tasks[2:])
        assert sorted(one.sources[0].value for one in answers) == ["model", "shared"]
        assert [numbers(one) for one in answers] == [[1], [1]]

    play(test)


def test_who_waits_can_go_away_and_takes_nothing_along(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        first, second, third = (_start(cache, model, 1) for _ in range(3))
        await _settle()
        second.cancel()
        with suppress(asyncio.CancelledError):
            await second
        assert second.cancelled()
        model.gates[0].set()
        assert numbers(await first) == numbers(await third) == [1]
        assert model.asked == [[1]]

    play(test)


def test_an_error_is_nobody_elses_and_is_not_kept(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.failing = {1}
        tasks = [_start(cache, model, 1, 2) for _ in range(3)]
        await _settle()
        assert model.asked == [[1, 2]]
        model.open = True
        model.gates[0].set()
        failed, *others = await asyncio.gather(*tasks)
        # The others asked for themselves, all at once, and for what had failed alone.
        assert model.asked == [[1, 2], [1], [1]]
        for answers in (failed, *others):
            assert isinstance(answers.results[0], ValueError)
            assert numbers(answers) == [2]
        model.failing = set()
        assert numbers(await cache.read([probe(1)], model.ask)) == [1]
        assert cache.stats().entries == 2

    play(test)


def test_an_error_of_the_first_only_reaches_nobody_else(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.failing = {1}
        first, second = _start(cache, model, 1), _start(cache, model, 1)
        await _settle()
        model.gates[0].set()
        await first
        model.failing = set()
        await model.until_asked(2)
        model.gates[1].set()
        assert numbers(await second) == [1]

    play(test)


def test_what_the_queue_raises_is_raised_and_others_take_over(
    play: Callable[[Play], None],
) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        async def refuse(_: Sequence[Probe]) -> Outcome[Reading]:
            await asyncio.sleep(0)
            raise RuntimeError("closed")

        first = asyncio.create_task(cache.read([probe(1)], refuse))
        await asyncio.sleep(0)
        second = _start(cache, model, 1)
        with pytest.raises(RuntimeError, match="closed"):
            await first
        await model.until_asked(1)
        model.gates[0].set()
        assert numbers(await second) == [1]

    play(test)


def test_a_short_request_does_not_wait_for_a_long_one(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        long = _start(cache, model, *range(100))
        await model.until_asked(1)
        short = _start(cache, model, 7)
        await model.until_asked(2)
        model.gates[1].set()
        answers = await short
        assert numbers(answers) == [7]
        assert answers.sources == (MODEL,)
        # One about as long does, and so does one that is longer.
        equal = _start(cache, model, *range(100))
        longer = _start(cache, model, *range(101))
        await model.until_asked(3)
        await _settle()
        assert [len(job) for job in model.asked] == [100, 1, 1]
        for gate in model.gates:
            gate.set()
        assert numbers(await long) == numbers(await equal) == list(range(100))
        assert numbers(await longer) == list(range(101))

    play(test)


def test_thousands_of_probes_leave_the_loop_its_turns(play: Callable[[Play], None]) -> None:
    async def test(cache: AnswerCache, model: Model) -> None:
        model.open = True
        reading = _start(cache, model, *range(20_000))
        turns = 0
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 20
        assert numbers(await reading) == list(range(20_000))

    play(test)


def test_without_memory_only_what_is_asked_at_once_is_shared(base: BaseModel) -> None:
    async def test() -> None:
        cache, model = _cache(base, capacity=0), Model()
        tasks = [_start(cache, model, 1) for _ in range(3)]
        await _settle()
        model.gates[0].set()
        await asyncio.gather(*tasks)
        model.open = True
        assert (await cache.read([probe(1)], model.ask)).sources == (MODEL,)
        assert model.asked == [[1], [1]]

    asyncio.run(test())


def test_a_storm_of_requests_and_goings_leaves_nothing_behind(base: BaseModel) -> None:
    """Random requests of which a third goes away: the others are right, and no flight is left."""

    async def test() -> None:
        random = np.random.default_rng(0)
        cache, model = _cache(base, capacity=4096), Model(open=True)

        async def ask(probes: Sequence[Probe]) -> Outcome[Reading]:
            await asyncio.sleep(float(random.random()) / 500)
            return await model.ask(probes)

        async def one() -> None:
            wanted = [int(number) for number in random.integers(0, 40, random.integers(1, 60))]
            task = asyncio.create_task(cache.read([probe(number) for number in wanted], ask))
            await asyncio.sleep(float(random.random()) / 500)
            if random.random() < 0.3:
                task.cancel()
            with suppress(asyncio.CancelledError):
                assert numbers(await task) == wanted

        async with asyncio.timeout(120):
            await asyncio.gather(*(one() for _ in range(400)))
        assert len(cache._flights) == 0

    asyncio.run(test())
