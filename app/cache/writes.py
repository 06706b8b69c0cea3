"""Writes to Redis in the background, so that no request waits for it."""

import asyncio
import logging
from collections import deque

from redis.asyncio import Redis

logger = logging.getLogger(__name__)

# What waits to be written at most; more is dropped.
_QUEUE_BYTES = 8 * 2**20
_WRITES_AT_ONCE = 256
_BATCH_SECONDS = 1.0
# Nothing is written for so many seconds after a refusal, doubled each time.
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class Writes:
    """A bounded queue of values to be written, over one connection that belongs to `run` alone.

    Args:
        client: with one connection.
        prefix: stands before each key.
        lifetime: seconds after which Redis forgets a value.

    Attributes:
        refused: values that Redis refused, e.g. because it is full or a replica.
    """

    def __init__(self, client: Redis, *, prefix: bytes, lifetime: int) -> None:
        self.refused = 0
        self._client = client
        self._prefix = prefix
        self._lifetime = lifetime
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._queued_bytes = 0
        self._some = asyncio.Event()
        self._pause = _FIRST_PAUSE
        self._paused_until = 0.0
        self._refusing = False

    def put(self, key: bytes, value: bytes) -> None:
        """Write a value soon; it is dropped if too much waits, or writes were just refused."""
        paused = asyncio.get_running_loop().time() < self._paused_until
        if paused or self._queued_bytes + len(value) > _QUEUE_BYTES:
            return
        self._queue.append((key, value))
        self._queued_bytes += len(value)
        self._some.set()

    async def run(self) -> None:
        """Write what is queued, until something fails. A refused value is no failure.

        Raises:
            Exception: whatever went wrong.
        """
        while True:
            await self._some.wait()
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(min(_WRITES_AT_ONCE, len(self._queue))):
                key, value = self._queue.popleft()
                self._queued_bytes -= len(value)
                pipeline.set(self._prefix + key, value, ex=self._lifetime)
            if not self._queue:
                self._some.clear()
            async with asyncio.timeout(_BATCH_SECONDS):
                replies = await pipeline.execute(raise_on_error=False)
            self._look_at([reply for reply in replies if isinstance(reply, Exception)])

    def _look_at(self, refusals: list[Exception]) -> None:
        self.refused += len(refusals)
        if not refusals:
            if self._refusing:
                logger.info("Redis keeps answers again")
            self._refusing = False
            self._pause = _FIRST_PAUSE
            return
        if not self._refusing:
            logger.warning("Redis keeps no further answers: %.200s", refusals[0])
        self._refusing = True
        self._paused_until = asyncio.get_running_loop().time() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._queue.clear()
        self._queued_bytes = 0
        self._some.clear()
