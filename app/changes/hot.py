"""The masks of a running service, changed by requests, folders and replicas."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from app.catalogue import ServedMask
from app.changes.change import Change
from app.changes.register import MaskRegister
from app.changes.replication import Replication
from app.conditions import Conditions
from app.redis_address import RedisAddress
from app.settings import Settings

logger = logging.getLogger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Uploaded:
    """A mask file that is served now.

    Attributes:
        served: the mask.
        created: whether the relation was not served before.
        persisted: whether the folder of uploads holds it.
        replicated: whether other replicas can know of it; None: there is no Redis.
    """

    served: ServedMask
    created: bool
    persisted: bool
    replicated: bool | None


class HotMasks:
    """Changes the masks of a register. For one event loop.

    What takes time is done in one thread of its own, beside those that prepare questions.
    """

    def __init__(self, settings: Settings, register: MaskRegister) -> None:
        self._register = register
        self._watch_seconds = settings.watch_seconds
        self._counts: Counter[str] = Counter()
        self._limiter: CapacityLimiter | None = None
        self._watching: asyncio.Task[None] | None = None
        self._replication: Replication | None = None
        if settings.redis_url is not None:
            self._replication = Replication(
                RedisAddress.parse(settings.redis_url.get_secret_value()),
                register,
                max_bytes=int(settings.max_mask_bytes),
                in_thread=self._in_thread,
            )

    async def open(self) -> None:
        """Begin to watch folders, and to share changes with other replicas.

        Returns when the masks are those of the other replicas, or soon if Redis does not answer.
        """
        if self._watch_seconds:
            self._watching = asyncio.create_task(self._watch(), name="mask folders")
        if self._replication is not None:
            await self._replication.open()

    async def close(self) -> None:
        """Leave the masks as they are."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        if self._replication is not None:
            await self._replication.close()

    async def put(self, relation: str, data: bytes, conditions: Conditions) -> Uploaded:
        """Serve a mask file.

        Raises:
            MaskRefusedError, PreconditionError, MaskNotKeptError: as `MaskRegister.put` does.
        """
        await self._learn(conditions)
        accepted = await self._in_thread(partial(self._register.put, relation, data, conditions))
        self._counts["put"] += 1
        replicated = await self._spread(accepted.change)
        return Uploaded(accepted.served, accepted.created, accepted.persisted, replicated)

    async def delete(self, relation: str, conditions: Conditions) -> None:
        """Serve a relation no more.

        Raises:
            UnknownRelationError, PreconditionError, MaskNotKeptError: as `MaskRegister.delete`.
        """
        await self._learn(conditions)
        change = await self._in_thread(partial(self._register.delete, relation, conditions))
        self._counts["delete"] += 1
        await self._spread(change)

    def counts(self) -> Mapping[str, int]:
        """How often masks were changed by what: put, delete, reload (folders), replica."""
        received = 0 if self._replication is None else self._replication.received
        made = {name: self._counts[name] for name in ("put", "delete", "reload")}
        return {**made, "replica": received}

    async def _learn(self, conditions: Conditions) -> None:
        """Before a condition is checked: what has been changed elsewhere until now."""
        if conditions and self._replication is not None:
            await self._replication.catch_up()

    async def _spread(self, change: Change) -> bool | None:
        return None if self._replication is None else await self._replication.spread(change)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._watch_seconds)
            try:
                changed = await self._in_thread(self._register.poll)
            except Exception:
                # The masks stay as they are, and the next look may be better.
                logger.exception("the folders of masks could not be looked at")
                continue
            if changed:
                self._counts["reload"] += 1
                if self._replication is not None:
                    self._replication.remind()

    async def _in_thread(self, work: Callable[[], Value]) -> Value:
        if self._limiter is None:
            self._limiter = CapacityLimiter(1)
        return await to_thread.run_sync(work, limiter=self._limiter)
