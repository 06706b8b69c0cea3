"""Makes the changes of this replica known to the others through Redis, and theirs here.

What every replica holds is compared by stamps: what Redis has later is fetched and checked, what
it lacks is written. That is done when a message comes, when something has changed here, every few
seconds in case a message was lost, and whenever Redis is reached again, be it empty by then.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol, TypeVar

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.changes.change import Change
from app.changes.register import MaskRegister
from app.changes.shared import SharedChanges
from app.changes.stamps import Stamp
from app.errors import MaskRefusedError
from app.redis_address import RedisAddress

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

_CONNECT_SECONDS = 1.0
# Between comparisons, if nobody asks for one.
_COMPARE_SECONDS = 2.0
# A Redis that failed is left alone for.
_PAUSE_SECONDS = 1.0
# Who makes a change, or the start, waits for Redis at most.
_PATIENCE_SECONDS = 1.0


class InThread(Protocol):
    """Runs what would block the event loop in a thread."""

    def __call__(self, work: Callable[[], Value], /) -> Awaitable[Value]:
        """What the work returns or raises."""


class Replication:
    """Keeps the changes of one register and those in Redis the same. For one event loop.

    Args:
        address: where Redis is.
        register: the masks here.
        max_bytes: of a mask file.
        in_thread: how the register is called.

    Attributes:
        received: changes of other replicas that were made here.
    """

    def __init__(
        self,
        address: RedisAddress,
        register: MaskRegister,
        *,
        max_bytes: int,
        in_thread: InThread,
    ) -> None:
        self.received = 0
        self._address = address
        self._register = register
        self._max_bytes = max_bytes
        self._in_thread = in_thread
        self._shared: SharedChanges | None = None
        self._comparing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()
        self._told = False
        self._keeping: asyncio.Task[None] | None = None
        # What the last comparison saw.
        self._version: bytes | None = None
        self._seen: Mapping[str, Stamp] = {}
        self._refused: Mapping[str, tuple[Stamp | None, str]] = {}

    async def open(self) -> None:
        """Begin; returns when the masks are those in Redis, or soon if it does not answer."""
        self._keeping = asyncio.create_task(self._keep(), name="mask replication")
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * _PATIENCE_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        """End."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping

    async def spread(self, change: Change) -> bool:
        """Make a change known at once; False: Redis does not answer, it is done when it does."""
        if (shared := self._shared) is None:
            return False
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await shared.write(change)
        except Exception as error:
            # Whatever it is, the change holds here.
            logger.warning("a change of masks did not reach Redis yet: %s", _words(error))
            self._wanted.set()
            return False
        return True

    async def catch_up(self) -> None:
        """Learn what the others have changed until now, if Redis answers soon."""
        if (shared := self._shared) is None:
            return
        with suppress(Exception):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._compare(shared)

    def remind(self) -> None:
        """Compare soon: something has changed here."""
        self._wanted.set()

    async def _keep(self) -> None:
        while True:
            try:
                async with _client(self._address) as redis:
                    await self._use(redis)
            except Exception as error:
                # Whatever it is, questions are answered without Redis.
                self._failed(error)
            finally:
                self._shared = None
            self._tried.set()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _use(self, redis: Redis) -> None:
        """Keep in touch until that fails.

        Raises:
            Exception: Redis cannot be used.
        """
        shared = SharedChanges(redis, self._register.base_digest, self._max_bytes)
        await self._compare(shared)
        self._shared = shared
        self._tried.set()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(redis, shared.channel))
            tasks.create_task(self._compare_always(shared))

    async def _listen(self, redis: Redis, channel: str) -> None:
        async with redis.pubsub() as pubsub:
            await pubsub.subscribe(channel)
            while True:
                if (message := await pubsub.get_message(timeout=_COMPARE_SECONDS)) is None:
                    continue
                if message["type"] == "subscribe":
                    logger.info("masks are shared through Redis at %s", self._address.shown)
                    self._told = False
                # Of a subscription, too: what was said before it is lost.
                self._wanted.set()

    async def _compare_always(self, shared: SharedChanges) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMPARE_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._compare(shared)

    async def _compare(self, shared: SharedChanges) -> None:
        """Fetch what Redis has later, and write what it lacks."""
        async with self._comparing:
            # Before everything else, so that what changes meanwhile is seen the next time.
            version = await shared.version()
            mine = self._register.changes()
            if version == self._version and not _unseen(mine, self._seen):
                return
            theirs, wrong = await shared.stamps()
            refused: dict[str, tuple[Stamp | None, str]] = {
                key: (None, reason) for key, reason in wrong.items()
            }
            for key, stamp in theirs.items():
                if key in mine and mine[key].stamp >= stamp:
                    continue
                known = self._refused.get(key)
                if known is None or known[0] != stamp:
                    known = await self._fetch(shared, key, stamp)
                if known is not None:
                    refused[key] = known
            if refused != self._refused:
                reasons = {key: reason for key, (_, reason) in refused.items()}
                await self._in_thread(partial(self._register.refuse, reasons))
            self._refused = refused
            for change in _unseen(mine, theirs):
                await shared.write(change)
            self._version = version
            self._seen = theirs | {change.key: change.stamp for change in _unseen(mine, theirs)}

    async def _fetch(
        self, shared: SharedChanges, key: str, stamp: Stamp
    ) -> tuple[Stamp, str] | None:
        """Make a change here that Redis has; why it cannot be made, otherwise."""
        try:
            stamp, data = await shared.read(key)
            change = await self._in_thread(partial(self._register.examine, key, stamp, data))
        except MaskRefusedError as error:
            return stamp, error.reason
        if await self._in_thread(partial(self._register.take, (change,))):
            self.received += 1
        return None

    def _failed(self, error: Exception) -> None:
        level = logging.DEBUG if self._told else logging.WARNING
        self._told = True
        logger.log(
            level,
            "masks are not shared until Redis at %s answers: %s",
            self._address.shown,
            _words(error),
        )


def _unseen(mine: Mapping[str, Change], seen: Mapping[str, Stamp]) -> list[Change]:
    """The changes here that are later than those seen in Redis."""
    return [change for key, change in mine.items() if key not in seen or change.stamp > seen[key]]


@asynccontextmanager
async def _client(address: RedisAddress) -> AsyncIterator[Redis]:
    pool = ConnectionPool.from_url(
        address.url,
        # The oldest protocol: it needs no greeting.
        protocol=2,
        socket_connect_timeout=_CONNECT_SECONDS,
        socket_timeout=None,
        # Who uses it tries again.
        retry=Retry(NoBackoff(), 0),
    )
    try:
        yield Redis(connection_pool=pool)
    finally:
        # It is given up, whether or not that can be done in order.
        with suppress(Exception):
            await pool.disconnect()


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # What Redis said may be anything; a line of the log stays one.
    said = str(error).encode("unicode_escape").decode()
    return f"{type(error).__name__} {said}"[:200].rstrip()
