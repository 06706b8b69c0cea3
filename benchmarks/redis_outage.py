"""Redis killed and restarted while clients ask: does any request fail, or any answer change?

Claim: an outage of Redis costs time and no request. Half of the questions were asked before, and
the server's own memory is too small for them, so that Redis is read all the time; the others are
new, so that it is written all the time.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Annotated, Any

import httpx
import numpy as np
import typer

from benchmarks.load import Connection, Reply, post
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.redis_process import RedisProcess, running_redis
from benchmarks.server import running_server
from benchmarks.tables import finish, provenance_line, table

# Questions that are asked again, at random; their answers do not fit into the server's memory.
_HOT = 1_000
_MEMORY = "64KiB"
_TOP_K = 10
# Scores of the same question may differ by rounding, for what shares a pass is never the same.
_SAME = 1e-4
_UP = "relata_redis_up 1.0"
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Outage:
    """Redis gone: seconds from the start of the load.

    Attributes:
        killed: when it was killed.
        restarted: when it answered again.
        used: when the server used it again.
    """

    killed: float
    restarted: float
    used: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds of requests, by percentile; None where there were none."""

    requests: int
    percentiles: dict[str, float] | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """Of requests that took so many seconds."""
        if not seconds:
            return cls(0, None)
        values = np.percentile(np.array(seconds) * 1000, [50, 99, 100])
        return cls(len(seconds), dict(zip(("p50", "p99", "max"), map(float, values), strict=True)))


@dataclass
class Answers:
    """What came back, looked at as it comes.

    Attributes:
        statuses: how many of each.
        differing: answers that are not those given to the same question before.
        sources: how many came from where.
        taken: when each request was sent, and how long it took, in seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    differing: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    taken: list[tuple[float, float]] = field(default_factory=list)
    _first: dict[bytes, list[tuple[str, float]]] = field(default_factory=dict)

    def look_at(self, request: bytes, reply: Reply) -> None:
        """Count a reply."""
        self.statuses[reply.status] += 1
        self.taken.append((reply.sent_at, reply.seconds))
        if reply.status != httpx.codes.OK:
            return
        detail = reply.headers["cache-status"].partition('detail="')[2].rstrip('"')
        self.sources.update(
            {name: int(count) for name, count in (part.split("=") for part in detail.split())}
        )
        said = [(one["object"], one["score"]) for one in json.loads(reply.body)["completions"]]
        self.differing += not _same(said, self._first.setdefault(request, said))


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        statuses: replies by HTTP status.
        failed: replies other than 200, and requests without one.
        differing: answers that are not those given to the same question before.
        sources: how many answers came from where.
        outages: each of them.
        with_redis: latency of requests sent while Redis was used.
        without: of those sent from a kill until it was used again.
        seconds: of the whole load.
        origin: where the figures come from.
    """

    statuses: dict[int, int]
    failed: int
    differing: int
    sources: dict[str, int]
    outages: Sequence[Outage]
    with_redis: Latency
    without: Latency
    seconds: float
    origin: dict[str, str]


def main(
    *,
    requests: Annotated[int, typer.Option(min=100, help="How many are sent.")] = 20_000,
    outages: Annotated[int, typer.Option(min=1, help="How often Redis is killed.")] = 5,
    away: Annotated[float, typer.Option(min=0, help="Seconds that it is gone.")] = 2.0,
    clients: Annotated[int, typer.Option(min=1, help="Connections.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/redis_outage.json"
    ),
) -> None:
    """Ask, kill and restart; write JSON and print Markdown."""
    origin = provenance()
    with running_redis() as redis:
        settings = {"device": "cpu", "redis_url": redis.url, "cache_bytes": _MEMORY}
        with running_server(settings, threads=threads) as server:
            relations = [
                relation["name"] for relation in server.client.get("/relations").json()["relations"]
            ]
            url = str(server.client.base_url)
            load = Load(url, questions(relations, Random(0)), requests, clients)
            asyncio.run(load.run(redis, outages, away))
    origin |= {
        "threads": str(threads),
        "load": f"{clients} clients, one query in a body, half of them of {_HOT:,} asked before",
        "memory for answers": _MEMORY,
    }
    result = load.result(origin)
    finish(out, "Redis killed and restarted under load", _markdown(result), asdict(result))
    if result.failed or result.differing:
        raise typer.Exit(1)


def questions(relations: Sequence[str], random: Random) -> Iterator[bytes]:
    """Requests without end: every second one new as long as there are any, the others repeated."""
    pairs = list(product(subjects(), relations))
    random.shuffle(pairs)
    hot, fresh = pairs[:_HOT], iter(pairs[_HOT:])
    while True:
        yield _request(*random.choice(hot))
        yield _request(*next(fresh, hot[0]))


class Load:
    """Clients that ask until all is asked, and what happens to Redis meanwhile."""

    def __init__(self, url: str, requests: Iterator[bytes], count: int, clients: int) -> None:
        self._url = url
        self._requests = requests
        self._count = count
        self._clients = clients
        self._sent = 0
        self._answers = Answers()
        self._outages: list[Outage] = []
        self._start = 0.0
        self._end = 0.0

    async def run(self, redis: RedisProcess, outages: int, away: float) -> None:
        """Send all requests; Redis is killed after equal shares of them."""
        self._start = time.monotonic()
        asking = asyncio.gather(*(self._client() for _ in range(self._clients)))
        async with httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False) as client:
            for number in range(1, outages + 1):
                while self._sent < self._count * number // (outages + 1) and not asking.done():
                    await asyncio.sleep(_POLL_SECONDS)
                self._outages.append(await self._outage(redis, away, client))
            await asking
        self._end = self._now()

    def result(self, origin: dict[str, str]) -> Result:
        """What was measured."""
        answers = self._answers
        apart: dict[bool, list[float]] = {True: [], False: []}
        for sent_at, seconds in answers.taken:
            since = sent_at - self._start
            gone = any(outage.killed <= since < outage.used for outage in self._outages)
            apart[gone].append(seconds)
        return Result(
            dict(sorted(answers.statuses.items())),
            answers.statuses.total() - answers.statuses[httpx.codes.OK],
            answers.differing,
            dict(answers.sources),
            self._outages,
            Latency.of(apart[False]),
            Latency.of(apart[True]),
            self._end,
            origin,
        )

    async def _client(self) -> None:
        connection = Connection(self._url)
        while self._sent < self._count:
            self._sent += 1
            request = next(self._requests)
            self._answers.look_at(request, await connection.send(request))
        connection.close()

    async def _outage(self, redis: RedisProcess, away: float, client: httpx.AsyncClient) -> Outage:
        await asyncio.to_thread(redis.kill)
        killed = self._now()
        await asyncio.sleep(away)
        await asyncio.to_thread(redis.start)
        restarted = self._now()
        while _UP not in (await client.get("/metrics")).text:
            await asyncio.sleep(_POLL_SECONDS)
        return Outage(killed, restarted, self._now())

    def _now(self) -> float:
        return time.monotonic() - self._start


def _request(subject: str, relation: str) -> bytes:
    query = {"subject": subject, "relation": relation, "top_k": _TOP_K}
    return post("/complete", json.dumps(query).encode())


def _same(said: Sequence[tuple[str, float]], before: Sequence[tuple[str, float]]) -> bool:
    """Equal but for rounding, by which neighbours may change places."""
    known = dict(before)
    return len(said) == len(before) and all(
        abs(score - other) < _SAME and abs(score - known.get(name, before[-1][1])) < _SAME
        for (name, score), (_, other) in zip(said, before, strict=True)
    )


def _markdown(result: Result) -> list[str]:
    rows: list[tuple[Any, ...]] = [
        ("requests", f"{sum(result.statuses.values()):,}"),
        ("failed", result.failed),
        ("answers that differ from those before", result.differing),
        *((f"from {name}", f"{count:,}") for name, count in result.sources.items()),
        ("requests a second", f"{sum(result.statuses.values()) / result.seconds:.0f}"),
    ]
    outages = [
        (
            number,
            f"{outage.killed:.1f}",
            f"{outage.restarted - outage.killed:.2f}",
            f"{outage.used - outage.restarted:.2f}",
        )
        for number, outage in enumerate(result.outages, 1)
    ]
    latencies = [
        (name, f"{latency.requests:,}", *(f"{value:.1f}" for value in latency.percentiles.values()))
        for name, latency in (("Redis in use", result.with_redis), ("Redis gone", result.without))
        if latency.percentiles is not None
    ]
    return [
        table(("", ""), rows),
        table(("outage", "begins at, s", "Redis gone, s", "then used again after, s"), outages),
        table(("latency", "requests", "median, ms", "p99, ms", "largest, ms"), latencies),
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
