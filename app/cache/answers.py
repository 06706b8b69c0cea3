"""What comes out of the cache, and what it says of itself."""

from dataclasses import dataclass
from enum import Enum

from plm import Reading


class Source(Enum):
    """Where a reading came from; `SHARED` is asked once for all who ask the same at a time."""

    MEMORY = "memory"
    REDIS = "redis"
    SHARED = "shared"
    MODEL = "model"


@dataclass(frozen=True, eq=False)
class Answers:
    """What became of a request's probes.

    Attributes:
        results: one for each probe: the reading, or the error that it ended in.
        sources: where each came from.
        queue_seconds: waited for Redis, for who asked the same, and for the model.
        infer_seconds: the longest pass that a probe was part of.
    """

    results: tuple[Reading | Exception, ...]
    sources: tuple[Source, ...]
    queue_seconds: float
    infer_seconds: float


@dataclass(frozen=True)
class AnswerCacheStats:
    """Counters of an `AnswerCache` at one moment.

    Attributes:
        memory_hits: probes answered from memory, or together with an equal one.
        redis_hits: probes answered from Redis.
        misses: probes that the model was asked.
        errors: failures of Redis, values in it that were no answers, and those that it refused.
        entries: answers held in memory.
        bytes: bytes held in memory.
        capacity: bytes that may be held in memory.
        redis_up: whether Redis is being used; None where there is none.
    """

    memory_hits: int
    redis_hits: int
    misses: int
    errors: int
    entries: int
    bytes: int
    capacity: int
    redis_up: bool | None
