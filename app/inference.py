"""From probes to readings: the queue, the passes over the model, and their limits."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.batcher import Backlog, Batcher, Outcome, Pass
from app.cache import (
    AnswerCache,
    AnswerCacheStats,
    AnswerKeys,
    Answers,
    MemoryTier,
    RedisTier,
    Source,
)
from app.errors import TooManyRowsError
from app.lanes import Lanes
from app.redis_address import RedisAddress
from app.room import PassRoom
from app.settings import Settings
from plm import Engine, PreparedPass, Probe, Reading


@dataclass(frozen=True, eq=False)
class Answered:
    """What became of one question's probes.

    Attributes:
        readings: one for each probe, or the error that it ended in.
        queue_seconds: the longest wait of a probe for the model, or for the cache.
        infer_seconds: the longest pass that a probe was part of.
        sources: where each reading came from; empty without a cache.
    """

    readings: tuple[Reading | Exception, ...]
    queue_seconds: float
    infer_seconds: float
    sources: tuple[Source, ...] = ()


class Inference:
    """Answers probes of any number of questions at once; `observe` is told of each pass.

    Attributes:
        engine: the model and its mask sets.
    """

    def __init__(
        self, engine: Engine, settings: Settings, observe: Callable[[Pass[Probe]], None]
    ) -> None:
        self.engine = engine
        self._max_rows = settings.max_rows
        self._lanes = Lanes.of(engine.base, settings)
        self._batcher: Batcher[Probe, PreparedPass, Reading] = Batcher(
            prepare=engine.prepare,
            run=self._run,
            room=lambda: PassRoom(settings.token_budget),
            weigh=lambda probe: len(probe.row.input_ids),
            budget=settings.token_budget,
            queue_size=settings.queue_size,
            queue_pieces=settings.queue_rows,
            lanes=self._lanes.count,
            observe=observe,
        )
        self.reserve = self._batcher.reserve
        self.refusal = self._batcher.refusal
        self._cache = _cache(engine, settings)

    async def read(self, questions: Sequence[Sequence[Probe]]) -> list[Answered]:
        """The readings of each question's probes; places must be reserved.

        Cancelling takes what was not begun out of the queue.

        Raises:
            TooManyRowsError: they are more than one request may ask for.
            NotReadyError: the service is stopping.
        """
        rows = sum(len(probes) for probes in questions)
        if rows > self._max_rows:
            raise TooManyRowsError(rows, self._max_rows)
        probes = [probe for question in questions for probe in question]
        if not probes:
            return []
        if self._cache is None:
            return _by_question(questions, await self._ask(probes))
        return _by_question(questions, await self._cache.read(probes, self._ask))

    def read_now(self, probes: Sequence[Probe]) -> list[Reading]:
        """The readings, made on the calling thread, for use without a server."""
        return self.engine.run(self.engine.prepare(probes))

    def warm_up(self, probes: Sequence[Probe]) -> None:
        """Answer probes as a request would, and wait for the readings."""
        with self._batcher.reserve(1):
            for reading in self._batcher.submit(probes).result().results:
                if isinstance(reading, Exception):
                    raise reading

    async def connect(self) -> None:
        """Begin to share answers through Redis, if there is one; also without it all works."""
        if self._cache is not None:
            await self._cache.open()

    async def disconnect(self) -> None:
        """Share no more answers."""
        if self._cache is not None:
            await self._cache.close()

    def cache_stats(self) -> AnswerCacheStats | None:
        """Counters of the cache of answers; None: there is none."""
        return None if self._cache is None else self._cache.stats()

    def backlog(self) -> Backlog:
        """What is being worked on now."""
        return self._batcher.backlog()

    def close(self) -> None:
        """Take no more probes, and finish those that were accepted."""
        self._batcher.close()

    def _run(self, prepared: PreparedPass, alone: bool) -> list[Reading]:
        self._lanes.take(alone=alone)
        return self.engine.run(prepared)

    async def _ask(self, probes: Sequence[Probe]) -> Outcome[Reading]:
        return await asyncio.wrap_future(self._batcher.submit(probes))


def _cache(engine: Engine, settings: Settings) -> AnswerCache | None:
    if settings.cache == "off":
        return None
    redis = None
    if settings.redis_url is not None:
        redis = RedisTier(
            RedisAddress.parse(settings.redis_url.get_secret_value()),
            timeout=settings.redis_timeout,
            lifetime=settings.cache_ttl,
        )
    keys = AnswerKeys(engine.base, engine.words)
    return AnswerCache(keys, MemoryTier(int(settings.cache_bytes)), redis)


def _by_question(
    questions: Sequence[Sequence[Probe]], outcome: Outcome[Reading] | Answers
) -> list[Answered]:
    sources = outcome.sources if isinstance(outcome, Answers) else ()
    answered = []
    start = 0
    for question in questions:
        stop = start + len(question)
        answered.append(
            Answered(
                outcome.results[start:stop],
                outcome.queue_seconds,
                outcome.infer_seconds,
                sources[start:stop],
            )
        )
        start = stop
    return answered
