"""Five times the load that the service can carry, for a minute.

Claims: goodput at least 0.9 of capacity, refusals (429) within 50 ms, no other error, and memory
that stays flat.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.http_load import Latency, bodies
from benchmarks.load import closed_load, open_load
from benchmarks.memory import MIB
from benchmarks.provenance import provenance
from benchmarks.server import running_server
from benchmarks.tables import finish, provenance_line, table


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        capacity: queries answered a second with as many clients as keep the model busy; the mean
            of a while before the overload and a while after it.
        offered: queries a second.
        goodput: queries answered a second, from the first request to the last answer.
        statuses: how many requests ended in which HTTP status (0: no connection, -1: broken).
        refused: latency of the refusals.
        answered: latency of the answers.
        rss_mib: of the server before, at the end, and the most.
        origin: where the figures come from.
    """

    capacity: float
    offered: float
    goodput: float
    statuses: dict[int, int]
    refused: Latency
    answered: Latency
    rss_mib: tuple[float, float, float]
    origin: dict[str, str]


def main(
    *,
    times: Annotated[float, typer.Option(min=1, help="Offered load by capacity.")] = 5,
    queries: Annotated[int, typer.Option(min=1, help="Queries in a body.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    seconds: Annotated[float, typer.Option(min=1, help="Of overload.")] = 60,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/overload.json"
    ),
) -> None:
    """Find the capacity, offer more, and look at what happens; write JSON, print Markdown."""
    origin = provenance()
    with running_server({"device": "cpu", "cache": "off"}, threads=threads) as server:
        url = str(server.client.base_url)
        # Made before: making them is not to be measured as the server's.
        requests = cycle(list(islice(bodies(queries), 2048)))
        asyncio.run(closed_load(url, requests, clients=32, seconds=5))
        first = _capacity(url, requests, queries)
        before = server.memory().rss / MIB
        offered = times * first
        started = time.monotonic()
        replies = asyncio.run(open_load(url, requests, rate=offered / queries, seconds=seconds))
        taken = time.monotonic() - started
        memory = server.memory()
        capacity = (first + _capacity(url, requests, queries)) / 2
    good = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    if not good or not refused:
        raise RuntimeError("nothing was answered, or nothing refused: this was no overload")
    origin |= {
        "threads": str(threads),
        "load": f"{times:g} times capacity for {seconds:g} s, {queries} queries in a body",
    }
    result = Result(
        capacity,
        offered,
        len(good) * queries / taken,
        dict(sorted(Counter(reply.status for reply in replies).items())),
        Latency.of(refused),
        Latency.of(good),
        (before, memory.rss / MIB, memory.peak_rss / MIB),
        origin,
    )
    finish(out, "Overload", _markdown(result), result)


def _capacity(url: str, requests: Iterator[bytes], queries: int) -> float:
    started = time.monotonic()
    got = asyncio.run(closed_load(url, requests, clients=32, seconds=20))
    answered = sum(reply.status == 200 for reply in got)
    return answered * queries / (time.monotonic() - started)


def _markdown(result: Result) -> list[str]:
    rows = [
        ("capacity, queries/s", f"{result.capacity:.0f}"),
        ("offered, queries/s", f"{result.offered:.0f}"),
        ("goodput, queries/s", f"{result.goodput:.0f}"),
        ("goodput / capacity", f"{result.goodput / result.capacity:.2f}"),
        ("requests by status", ", ".join(f"{k}: {v}" for k, v in result.statuses.items())),
        *(
            (f"refusals, {name}, ms", f"{result.refused.percentiles[name]:.1f}")
            for name in ("p50", "p90", "p99", "max")
        ),
        *(
            (f"answers, {name}, ms", f"{result.answered.percentiles[name]:.0f}")
            for name in ("p50", "p99", "max")
        ),
        ("RSS before, after, peak, MiB", ", ".join(f"{x:.0f}" for x in result.rss_mib)),
    ]
    return [table(("", ""), rows), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
