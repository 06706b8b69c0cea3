"""The changes of all replicas, in Redis: of each relation the latest, with its stamp.

Three keys of one base, none of which expires, and a channel:

- `relata:masks:{<base digest>}:stamps`: a hash, from the key of a relation to the stamp;
- `relata:masks:{<base digest>}:files`: a hash, from the same key to the mask's file, empty where
  it was taken away;
- `relata:masks:{<base digest>}:version`: a number that grows with every change;
- `relata:masks:{<base digest>}`: says the key of what has changed.

The digest in braces keeps the keys in one slot of a cluster.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from redis.asyncio import Redis

from app.changes.change import Change, key_of
from app.changes.stamps import Stamp
from app.errors import MaskRefusedError
from masks import check_relation_name

Value = TypeVar("Value")

# A large mask takes a while on a slow network.
_REPLY_SECONDS = 5.0

# Keys: stamps, files, version. Arguments: key, stamp, file, channel, horizon. A stamp that is there
# and as late is left, unless it is none or beyond the horizon. The version is the time, so that
# one that was lost with the data does not come again.
_WRITE = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and #held >= 17 and string.find(held, '^%d+:%x*$')
    and held >= ARGV[2] and held <= ARGV[5] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local version = tonumber(redis.call('GET', KEYS[3]) or '0') or 0
if not (version >= 0 and version < 9e15) then version = 0 end
local now = redis.call('TIME')
version = math.max(version + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[3], string.format('%.0f', version))
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
"""

# Keys: stamps, files. Arguments: key, most bytes. The stamp, and the file or its size if that is
# more.
_READ = """
local stamp = redis.call('HGET', KEYS[1], ARGV[1])
local size = redis.call('HSTRLEN', KEYS[2], ARGV[1])
if size > tonumber(ARGV[2]) then return {stamp, size} end
return {stamp, redis.call('HGET', KEYS[2], ARGV[1])}
"""


class SharedChanges:
    """The changes of one base in Redis.

    Every method raises RedisError or OSError where Redis cannot be asked, does not do it, or does
    not answer in time.

    Args:
        redis: a client whose replies are bytes, without a timeout for them.
        base_digest: the base.
        max_bytes: of a mask file; a larger one is not fetched.

    Attributes:
        channel: says that something has changed.
    """

    def __init__(self, redis: Redis, base_digest: str, max_bytes: int) -> None:
        name = f"relata:masks:{{{base_digest}}}"
        self.channel = name
        self._stamps, self._files, self._version = (
            f"{name}:stamps",
            f"{name}:files",
            f"{name}:version",
        )
        self._max_bytes = max_bytes
        self._redis = redis
        self._write = redis.register_script(_WRITE)
        self._read = redis.register_script(_READ)

    async def version(self) -> bytes | None:
        """What is another one after every change; None: there was no change yet."""
        return _bytes(await _in_time(self._redis.get(self._version)))

    async def stamps(self) -> tuple[dict[str, Stamp], dict[str, str]]:
        """The stamps by relation's key, and what is wrong with those that are none."""
        stamps, wrong = {}, {}
        for key, text in (await _in_time(self._redis.hgetall(self._stamps))).items():
            name = _text(key)
            try:
                if key_of(check_relation_name(name)) != name:
                    raise ValueError("a relation's key has no capital letters")
                stamps[name] = Stamp.parse(_text(text))
            except ValueError as error:
                wrong[name.encode("unicode_escape").decode()[:160]] = str(error)
        return stamps, wrong

    async def read(self, key: str) -> tuple[Stamp, bytes]:
        """The stamp and the file of a relation, as they are now.

        Raises:
            MaskRefusedError: there is no such entry, or its file is too large.
        """
        stamp, data = await _in_time(
            self._read([self._stamps, self._files], [key, self._max_bytes])
        )
        if isinstance(data, int):
            raise MaskRefusedError(
                f"it has {data} bytes, but RELATA_MAX_MASK_BYTES is {self._max_bytes}"
            )
        if stamp is None or data is None:
            raise MaskRefusedError("there is no file with its stamp")
        try:
            return Stamp.parse(_text(stamp)), data
        except ValueError as error:
            raise MaskRefusedError(str(error)) from error

    async def write(self, change: Change) -> None:
        """Make a change known, unless a later one for its relation is."""
        data = b"" if change.served is None else change.served.data
        await _in_time(
            self._write(
                [self._stamps, self._files, self._version],
                [change.key, change.stamp.text, data, self.channel, Stamp.horizon().text],
            )
        )


async def _in_time(reply: Awaitable[Value]) -> Value:
    # Not by the client's own timeout: with that, a task may miss that it is cancelled.
    async with asyncio.timeout(_REPLY_SECONDS):
        return await reply


def _bytes(reply: bytes | str | None) -> bytes | None:
    # The client's types allow for replies that it decodes, which it is not told to.
    return reply.encode() if isinstance(reply, str) else reply


def _text(reply: bytes | str) -> str:
    return reply.decode("ascii", "backslashreplace") if isinstance(reply, bytes) else reply
