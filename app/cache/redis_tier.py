"""Answers in Redis, shared by all servers that use it: used while it answers, else left alone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.cache.lookups import Lookups, mget
from app.cache.writes import Writes
from app.redis_address import RedisAddress

logger = logging.getLogger(__name__)

PREFIX = b"relata:answer:"

# Seconds for a connection to be made; no request waits for that.
_CONNECT_SECONDS = 1.0
# Seconds for which a Redis that failed is left alone, doubled each time until it was good for
# `_STEADY_SECONDS`.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 3.2
_STEADY_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class _Session:
    """A period in which Redis is used."""

    lookups: Lookups
    writes: Writes


class RedisTier:
    """The answers that Redis holds. For one event loop.

    The first failure ends its use: an error, a reply that is none, or a caller who waited in vain.
    It is then tried in the background, the same way as requests use it, and used again when it
    answers in time. So of the callers that Redis makes wait, each waits once for the timeout at
    most, and none waits while it is tried.

    Args:
        address: where it is.
        timeout: seconds that a caller waits at most.
        lifetime: seconds after which Redis forgets an answer.

    Attributes:
        failures: how often its use ended.
    """

    def __init__(self, address: RedisAddress, *, timeout: float, lifetime: int) -> None:
        self.failures = 0
        self._address = address
        self._timeout = timeout
        self._lifetime = lifetime
        self._refused = 0
        self._told = False
        self._session: _Session | None = None
        self._tried = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether it is being used."""
        return self._session is not None

    @property
    def refused(self) -> int:
        """Answers that Redis refused to keep."""
        return self._refused + (self._session.writes.refused if self._session else 0)

    async def open(self) -> None:
        """Begin to use it; returns when it was tried once, with or without success."""
        self._keeping = asyncio.create_task(self._keep(), name="redis")
        await self._tried.wait()

    async def close(self) -> None:
        """Use it no more."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def get(self, keys: Sequence[bytes], size: int = 0) -> Mapping[bytes, object]:
        """What it has under the keys; nothing while it is not used. Raises nothing.

        What comes back is whatever Redis says and must be checked. `size` is about how many bytes
        the largest value has, so that one reply is not too long for those who wait for others.
        """
        return {} if self._session is None else await self._session.lookups.get(keys, size)

    def put(self, key: bytes, value: bytes) -> None:
        """Have a value kept, if that can be done without waiting. Raises nothing."""
        if self._session is not None:
            self._session.writes.put(key, value)

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            seconds = await self._use()
            steady = seconds >= _STEADY_SECONDS
            pause = _FIRST_PAUSE if steady else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _use(self) -> float:
        """Try it, and use it until it fails; for how many seconds it was used."""
        time = asyncio.get_running_loop().time
        since: float | None = None
        async with _client(self._address) as reader, _client(self._address) as writer:
            try:
                await self._try(reader)
                since = time()
                session = _Session(
                    Lookups(reader, prefix=PREFIX, timeout=self._timeout),
                    Writes(writer, prefix=PREFIX, lifetime=self._lifetime),
                )
                self._begin(session)
                await _until_one_ends(
                    session.lookups.run(), session.lookups.watch(), session.writes.run()
                )
            except Exception as error:
                # Whatever it is, requests are answered without Redis.
                self._failed(error, used=since is not None)
            finally:
                self._end()
        return 0.0 if since is None else time() - since

    async def _try(self, reader: Redis) -> None:
        """Ask as requests do: connecting may take a while, an answer after that may not.

        Raises:
            Exception: it cannot be used.
        """
        async with asyncio.timeout(_CONNECT_SECONDS):
            await mget(reader, [PREFIX])
        async with asyncio.timeout(self._timeout):
            await mget(reader, [PREFIX])

    def _begin(self, session: _Session) -> None:
        logger.info("answers are kept in Redis at %s", self._address.shown)
        self._session = session
        self._told = False
        self._tried.set()

    def _failed(self, error: Exception, *, used: bool) -> None:
        self.failures += used
        level = logging.DEBUG if self._told else logging.WARNING
        self._told = True
        logger.log(
            level,
            "Redis at %s is left alone until it answers: %s",
            self._address.shown,
            _reason(error),
        )

    def _end(self) -> None:
        if self._session is not None:
            self._refused += self._session.writes.refused
        self._session = None
        self._tried.set()


@asynccontextmanager
async def _client(address: RedisAddress) -> AsyncIterator[Redis]:
    pool = ConnectionPool.from_url(
        address.url,
        max_connections=1,
        # The oldest protocol: it needs no greeting, and has no messages that nobody asked for.
        protocol=2,
        socket_connect_timeout=_CONNECT_SECONDS,
        # Whoever waits has a timeout of its own.
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield Redis(connection_pool=pool)
    finally:
        # It is given up, whether or not that can be done in order.
        with suppress(Exception):
            await pool.disconnect()


async def _until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Run works together; when one ends, no matter how, end the others.

    Raises:
        Exception: what that one raised.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        if task.cancelled():
            raise RuntimeError("a task that uses it was cancelled")
        task.result()


def _reason(error: Exception) -> str:
    # What Redis said may be anything; a line of the log stays one.
    said = str(error).encode("unicode_escape").decode()
    return f"{type(error).__name__} {said}"[:200].rstrip()
