"""Readings by probe: from memory, from Redis, from who asks the same, or else from the model."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from app.batcher import Outcome
from app.cache.answers import AnswerCacheStats, Answers, Source
from app.cache.flights import Departure, Flight, Flights
from app.cache.keys import AnswerKeys
from app.cache.memory import MemoryTier
from app.cache.redis_tier import RedisTier
from app.cache.turns import Turns
from app.cache.values import pack, packed_bytes, seal, unpack, unseal
from plm import Probe, Reading

Ask = Callable[[Sequence[Probe]], Awaitable[Outcome[Reading]]]

# Bytes of an answer that goes to Redis. The model ranks a whole vocabulary about as soon as Redis
# has sent it.
_LARGEST_SHARED = 2**16


@dataclass(eq=False)
class _Errand:
    """A request's way through the cache.

    Attributes:
        probes: by key.
        found: result and source by key.
        failed: keys that others asked for in vain.
    """

    probes: dict[bytes, Probe]
    found: dict[bytes, tuple[Reading | Exception, Source]] = field(default_factory=dict)
    failed: set[bytes] = field(default_factory=set)
    queue_seconds: float = 0.0
    infer_seconds: float = 0.0


class AnswerCache:
    """Keeps readings, and asks for each only once at a time. For one event loop.

    A probe that is being asked for is not asked again: who comes later waits for the reading. If
    the one who asks goes away, one of those who wait takes over; if it gets an error, each asks
    for itself. Errors are not kept.

    Args:
        keys: makes the keys of the model's probes.
        memory: of this process.
        redis: shared with other processes; None: there is none.
    """

    def __init__(self, keys: AnswerKeys, memory: MemoryTier, redis: RedisTier | None) -> None:
        self._key = keys
        self._memory = memory
        self._redis = redis
        self._flights = Flights()
        self._counts: Counter[Source] = Counter()
        self._damaged = 0

    async def open(self) -> None:
        """Begin to use Redis, if there is one."""
        if self._redis is not None:
            await self._redis.open()

    async def close(self) -> None:
        """Use Redis no more."""
        if self._redis is not None:
            await self._redis.close()

    async def read(self, probes: Sequence[Probe], ask: Ask) -> Answers:
        """The readings of probes; `ask` asks the model for those that nobody has.

        Raises:
            Exception: whatever `ask` raises.
        """
        keys: list[bytes] = []
        turns = Turns()
        for probe in probes:
            keys.append(self._key(probe))
            await turns.give()
        errand = _Errand(dict(zip(keys, probes, strict=True)))
        while missing := await self._look_in_memory(errand):
            departure = self._flights.depart(missing, errand.failed)
            try:
                await self._find(errand, departure, ask)
            finally:
                for key, flight in departure.lead.items():
                    self._flights.land(key, flight, None)
            await self._wait(errand, departure.follow)
        return self._answers(errand, keys)

    def stats(self) -> AnswerCacheStats:
        """The counters now."""
        counts, redis = self._counts, self._redis
        return AnswerCacheStats(
            memory_hits=counts[Source.MEMORY] + counts[Source.SHARED],
            redis_hits=counts[Source.REDIS],
            misses=counts[Source.MODEL],
            errors=self._damaged + (0 if redis is None else redis.failures + redis.refused),
            entries=len(self._memory),
            bytes=self._memory.bytes,
            capacity=self._memory.capacity,
            redis_up=None if redis is None else redis.up,
        )

    async def _look_in_memory(self, errand: _Errand) -> list[bytes]:
        """The keys that neither the errand nor memory has."""
        missing: list[bytes] = []
        turns = Turns()
        for key, probe in errand.probes.items():
            if key in errand.found:
                continue
            packed = self._memory.get(key)
            reading = None if packed is None else unpack(probe.wanted, packed)
            if reading is None:
                missing.append(key)
            else:
                errand.found[key] = (reading, Source.MEMORY)
            await turns.give()
        return missing

    async def _find(self, errand: _Errand, departure: Departure, ask: Ask) -> None:
        """Find what is not others' to find, in Redis and by asking."""
        lead = departure.lead
        keys = [*lead, *departure.alone]
        turns = Turns()
        if self._redis is not None:
            for key, sealed in (await self._look_in_redis(errand, keys)).items():
                self._take(errand, key, sealed, lead.get(key))
                await turns.give()
            keys = [key for key in keys if key not in errand.found]
        if not keys:
            return
        outcome = await ask([errand.probes[key] for key in keys])
        errand.queue_seconds += outcome.queue_seconds
        errand.infer_seconds = max(errand.infer_seconds, outcome.infer_seconds)
        for key, result in zip(keys, outcome.results, strict=True):
            self._keep(errand, key, result, lead.get(key))
            await turns.give()

    async def _look_in_redis(
        self, errand: _Errand, keys: Sequence[bytes]
    ) -> Mapping[bytes, object]:
        """What Redis says to the keys of answers that are not too large for it."""
        sizes = {key: packed_bytes(errand.probes[key].wanted) for key in keys}
        shared = [key for key, size in sizes.items() if size <= _LARGEST_SHARED]
        if self._redis is None or not shared:
            return {}
        started = perf_counter()
        held = await self._redis.get(shared, max(sizes[key] for key in shared))
        errand.queue_seconds += perf_counter() - started
        return held

    def _take(self, errand: _Errand, key: bytes, sealed: object, flight: Flight | None) -> None:
        """What Redis says is believed only if it bears the seal of the key."""
        packed = unseal(key, sealed)
        reading = None if packed is None else unpack(errand.probes[key].wanted, packed)
        if packed is None or reading is None:
            self._damaged += 1
            return
        self._memory.put(key, packed)
        errand.found[key] = (reading, Source.REDIS)
        if flight is not None:
            self._flights.land(key, flight, reading)

    def _keep(
        self, errand: _Errand, key: bytes, result: Reading | Exception, flight: Flight | None
    ) -> None:
        if isinstance(result, Reading):
            packed = pack(result)
            self._memory.put(key, packed)
            if self._redis is not None and len(packed) <= _LARGEST_SHARED:
                self._redis.put(key, seal(key, packed))
        errand.found[key] = (result, Source.MODEL)
        if flight is not None:
            self._flights.land(key, flight, result)

    async def _wait(self, errand: _Errand, follow: dict[bytes, Flight]) -> None:
        if not follow:
            return
        started = perf_counter()
        await asyncio.wait([flight.landed for flight in follow.values()])
        errand.queue_seconds += perf_counter() - started
        for key, flight in follow.items():
            result = flight.landed.result()
            if isinstance(result, Reading):
                errand.found[key] = (result, Source.SHARED)
            elif result is not None:
                errand.failed.add(key)

    def _answers(self, errand: _Errand, keys: Sequence[bytes]) -> Answers:
        results: list[Reading | Exception] = []
        sources: list[Source] = []
        seen: set[bytes] = set()
        for key in keys:
            result, source = errand.found[key]
            results.append(result)
            sources.append(Source.SHARED if key in seen and source is not Source.MEMORY else source)
            seen.add(key)
        self._counts.update(sources)
        return Answers(tuple(results), tuple(sources), errand.queue_seconds, errand.infer_seconds)
