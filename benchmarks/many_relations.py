"""A server of 1,600 relations beside one of 16: start, memory and rate over HTTP.

The relations are unions of the shipped masks, written as a pack of their own, so that each is a
mask file like any other. Claim: what is asked costs alike, and memory grows by the packed bits.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from app.settings import shipped_packs
from benchmarks.load import closed_load, post
from benchmarks.memory import MIB
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.server import Server, running_server
from benchmarks.specialists import TOP_K, specialists
from benchmarks.tables import finish, provenance_line, table
from masks import MaskPack, RelationMask, write_pack


@dataclass(frozen=True)
class Side:
    """One of the two servers.

    Attributes:
        relations: it serves.
        seconds_to_ready: of its start.
        queries_a_second: over HTTP, relations drawn uniformly.
        ratio: to the server of the fewest relations, round by round.
        rss_mib: when it was ready, and at the end.
        packed_mib: bits of all its masks.
    """

    relations: int
    seconds_to_ready: float
    queries_a_second: Spread
    ratio: Spread
    rss_mib: tuple[float, float]
    packed_mib: float


@dataclass(frozen=True)
class Result:
    """All servers, and where the figures come from."""

    sides: Sequence[Side]
    origin: dict[str, str]


def main(
    *,
    relations: Annotated[list[int] | None, typer.Option(help="Relations of each server.")] = None,
    clients: Annotated[int, typer.Option(min=1, help="Connections.")] = 16,
    queries: Annotated[int, typer.Option(min=1, help="Queries in a body.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each server.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of a turn.")] = 10,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/many_relations.json"
    ),
) -> None:
    """Measure the servers in turns; write JSON and print Markdown."""
    origin = provenance()
    counts = relations or [16, 1600]
    with ExitStack() as stack:
        servers: list[Server] = []
        bodies: list[Iterator[bytes]] = []
        bits: list[float] = []
        for count in counts:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            masks = write_unions(folder, count)
            bits.append(sum(sum(part.nbytes for part in mask.packed.values()) for mask in masks))
            bodies.append(_bodies([mask.relation for mask in masks], queries))
            del masks
            settings = {"packs": str(folder), "device": "cpu", "cache": "off"}
            servers.append(stack.enter_context(running_server(settings, threads=threads)))
        ready = [server.memory().rss / MIB for server in servers]
        rates: list[list[float]] = [[] for _ in servers]
        for number in range(rounds + 1):
            order = range(len(servers)) if number % 2 else reversed(range(len(servers)))
            for place in order:
                url = str(servers[place].client.base_url)
                started = time.monotonic()
                got = asyncio.run(closed_load(url, bodies[place], clients=clients, seconds=seconds))
                answered = sum(reply.status == 200 for reply in got) * queries
                # The first round warms up.
                if number:
                    rates[place].append(answered / (time.monotonic() - started))
        sides = [
            Side(
                count,
                servers[place].seconds_to_ready,
                Spread.of(rates[place]),
                Spread.of_ratios(rates[place], rates[0]),
                (ready[place], servers[place].memory().rss / MIB),
                bits[place] / MIB,
            )
            for place, count in enumerate(counts)
        ]
    origin |= {
        "threads": str(threads),
        "load": f"{clients} clients, {queries} queries in a body, relations drawn uniformly",
        "turns": f"{rounds} of {seconds:g} s of each server",
    }
    finish(out, "1,600 relations beside 16", _markdown(sides, origin), Result(sides, origin))


def write_unions(folder: Path, count: int) -> list[RelationMask]:
    """A pack of so many relations `R0000`, `R0001`, ..., unions of the shipped masks."""
    (pack,) = shipped_packs()
    shipped = MaskPack.open(pack).load_all()
    masks = []
    for number, one in enumerate(specialists(count, pack)):
        first = shipped[one.mask.relations[0]]
        metadata = replace(first.metadata, relation=f"R{number:04d}")
        masks.append(RelationMask(metadata, one.mask.packed))
    write_pack(folder, masks, name=f"{count} unions")
    return masks


def _bodies(names: Sequence[str], queries: int) -> Iterator[bytes]:
    random = Random(0)
    about = list(subjects())
    while True:
        body = [
            {"subject": subject, "relation": random.choice(names), "top_k": TOP_K}
            for subject in random.sample(about, queries)
        ]
        yield post("/complete", json.dumps({"queries": body}).encode())


def _markdown(sides: Sequence[Side], origin: dict[str, str]) -> list[str]:
    rows = [
        (
            f"{side.relations:,}",
            f"{side.seconds_to_ready:.1f}",
            side.queries_a_second.text(0),
            side.ratio.text(),
            f"{side.rss_mib[0]:.0f}",
            f"{side.rss_mib[1]:.0f}",
            f"{side.packed_mib:.0f}",
        )
        for side in sides
    ]
    header = (
        "relations",
        "ready after, s",
        "queries/s",
        "ratio",
        "RSS when ready, MiB",
        "at the end",
        "packed bits, MiB",
    )
    return [table(header, rows), provenance_line(origin)]


if __name__ == "__main__":
    typer.run(main)
