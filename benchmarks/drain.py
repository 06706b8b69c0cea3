"""SIGTERM again and again while clients ask: is any accepted request lost?

A request is accepted once its bytes are sent on a connection that the server has accepted. It is
lost if no answer comes: the connection ends before one is whole. A connection that is refused, and
a 503 that tells to come back, lose nothing.
"""

import asyncio
import os
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from benchmarks.http_load import bodies
from benchmarks.load import BROKEN, NO_CONNECTION, Connection, Reply
from benchmarks.provenance import provenance
from benchmarks.server import running_server
from benchmarks.tables import finish, provenance_line, table


@dataclass(frozen=True)
class Result:
    """What became of the requests of all cycles, and of those sent after the signal."""

    cycles: int
    statuses: dict[int, int]
    lost: int
    origin: dict[str, str]


def main(
    *,
    cycles: Annotated[int, typer.Option(min=1, help="How many servers are stopped.")] = 50,
    clients: Annotated[int, typer.Option(min=1, help="Connections.")] = 16,
    queries: Annotated[int, typer.Option(min=1, help="Queries in a body.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/drain.json"
    ),
) -> None:
    """Start, load and stop servers; write JSON and print Markdown."""
    origin = provenance()
    random = Random(0)
    statuses: Counter[int] = Counter()
    for cycle in range(cycles):
        with running_server({"device": "cpu", "cache": "off"}, threads=threads) as server:
            url = str(server.client.base_url)
            replies = asyncio.run(_until_gone(url, server.pid, clients, queries, random.random()))
        seen = Counter(reply.status for reply in replies)
        statuses += seen
        typer.echo(f"{cycle + 1} of {cycles}: {dict(seen)}", err=True)
    origin |= {"threads": str(threads), "load": f"{clients} clients, {queries} queries in a body"}
    result = Result(cycles, dict(sorted(statuses.items())), statuses[BROKEN], origin)
    finish(out, "SIGTERM under load", _markdown(result), result)


async def _until_gone(url: str, pid: int, clients: int, queries: int, wait: float) -> list[Reply]:
    """Ask until no connection is to be had; the server gets its signal meanwhile."""
    replies: list[Reply] = []
    requests = bodies(queries)

    async def client() -> None:
        connection = Connection(url)
        while not replies or replies[-1].status != NO_CONNECTION:
            replies.append(await connection.send(next(requests)))

    async def stop() -> None:
        await asyncio.sleep(1 + wait)
        os.kill(pid, signal.SIGTERM)

    await asyncio.gather(stop(), *(client() for _ in range(clients)))
    return replies


def _markdown(result: Result) -> list[str]:
    names = {NO_CONNECTION: "no connection (the server was gone)", BROKEN: "no answer: lost"}
    rows = [
        ("servers stopped", result.cycles),
        *((names.get(status, f"HTTP {status}"), n) for status, n in result.statuses.items()),
        ("accepted requests lost", result.lost),
    ]
    return [table(("", ""), rows), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
