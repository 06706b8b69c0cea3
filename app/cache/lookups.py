"""Lookups in Redis: what is asked while one MGET is under way goes into the next one."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import InvalidResponse

# Keys of one MGET and bytes of its reply, and keys of one caller at a time, so that neither a
# caller with thousands of them nor one with large values holds up the others.
_KEYS_AT_ONCE = 512
_BYTES_AT_ONCE = 2**20
_SHARE = 64


@dataclass(eq=False)
class _Lookup:
    """What one caller waits for: `taken` of its keys are under way, `left` not answered.

    A value has `size` bytes at most.
    """

    keys: Sequence[bytes]
    size: int
    done: "asyncio.Future[None]"
    left: int
    taken: int = 0
    found: dict[bytes, object] = field(default_factory=dict)

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Lookups:
    """Lookups over one connection, which belongs to `run` alone.

    A caller who gives up therefore breaks nothing, and no reply can reach another's question.

    Args:
        client: with one connection.
        prefix: stands before each key.
        timeout: seconds that a caller waits at most.
    """

    def __init__(self, client: Redis, *, prefix: bytes, timeout: float) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout = timeout
        self._waiting: deque[_Lookup] = deque()
        self._some = asyncio.Event()
        self._overdue = asyncio.Event()
        self._answered = 0.0
        self._over = False

    async def get(self, keys: Sequence[bytes], size: int) -> Mapping[bytes, object]:
        """What Redis has under the keys, each of `size` bytes at most, if it says so in time."""
        if self._over:
            return {}
        loop = asyncio.get_running_loop()
        started = loop.time()
        lookup = _Lookup(keys, size, loop.create_future(), len(keys))
        self._waiting.append(lookup)
        self._some.set()
        try:
            await asyncio.wait([lookup.done], timeout=self._timeout)
        finally:
            lookup.taken = len(keys)
        # Where others were answered meanwhile it was only too much to look up.
        if not lookup.done.done() and self._answered < started:
            self._overdue.set()
        # What comes later is nobody's any more.
        return dict(lookup.found)

    async def run(self) -> None:
        """Look up whatever is asked, until something fails.

        Raises:
            Exception: whatever went wrong; all who wait go away with what they have.
        """
        under_way: list[tuple[_Lookup, Sequence[bytes]]] = []
        try:
            while True:
                await self._some.wait()
                under_way = self._take()
                if under_way:
                    await self._look_up(under_way)
        finally:
            self._over = True
            for lookup in (*self._waiting, *(lookup for lookup, _ in under_way)):
                lookup.finish()

    async def watch(self) -> None:
        """Wait until a caller waited in vain.

        Raises:
            TimeoutError: one did.
        """
        await self._overdue.wait()
        raise TimeoutError(f"no answer within {self._timeout:g} s")

    def _take(self) -> list[tuple[_Lookup, Sequence[bytes]]]:
        taken = []
        keys, size = _KEYS_AT_ONCE, _BYTES_AT_ONCE
        while self._waiting and keys > 0 and size > 0:
            lookup = self._waiting.popleft()
            share = min(_SHARE, keys, max(1, size // max(1, lookup.size)))
            part = lookup.keys[lookup.taken : lookup.taken + share]
            if part:
                taken.append((lookup, part))
                lookup.taken += len(part)
                keys -= len(part)
                size -= len(part) * lookup.size
            if lookup.taken < len(lookup.keys):
                self._waiting.append(lookup)
        if not self._waiting:
            self._some.clear()
        return taken

    async def _look_up(self, parts: Sequence[tuple[_Lookup, Sequence[bytes]]]) -> None:
        values = iter(
            await mget(self._client, [self._prefix + key for _, part in parts for key in part])
        )
        self._answered = asyncio.get_running_loop().time()
        for lookup, part in parts:
            lookup.found.update(
                (key, value) for key, value in zip(part, values, strict=False) if value is not None
            )
            lookup.left -= len(part)
            if not lookup.left:
                lookup.finish()


async def mget(client: Redis, keys: Sequence[bytes]) -> list[Any]:
    """The values of keys, None where there is none.

    Raises:
        InvalidResponse: the reply is not one value for each key.
        Exception: whatever the client raises.
    """
    values = await client.mget(keys)
    if not isinstance(values, list) or len(values) != len(keys):
        raise InvalidResponse("the reply to MGET is not one value for each key")
    return values
