"""The service over HTTP beside its own engine, and its latency under a steady load.

Claims: with 64 clients that send many queries in a body the service keeps at least 0.8 of the
engine's own rate on the same questions; at 70 % of that load the 99th percentile of latency stays
under 10 times the median. The engine runs full passes one after another with all threads; and, to
show what the processors have, two at a time with half of them each, as the service does.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import torch
import typer

from app.memory import keep_buffers
from benchmarks.load import Reply, closed_load, open_load, post
from benchmarks.memory import MIB, Memory
from benchmarks.provenance import provenance
from benchmarks.questions import SUBJECT_COUNT, subjects
from benchmarks.samples import Spread
from benchmarks.server import running_server
from benchmarks.specialists import TOP_K, specialists
from benchmarks.tables import finish, provenance_line, table
from benchmarks.workers import answer, messages, worker
from plm import Engine, load_base


@dataclass(frozen=True)
class Latency:
    """Of the requests of a load.

    Attributes:
        requests: how many.
        failed: those that did not end in 200.
        percentiles: milliseconds by percentile.
    """

    requests: int
    failed: int
    percentiles: dict[str, float]

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> "Latency":
        """Of all replies; a failure counts with the time that it took."""
        taken = np.array([reply.seconds * 1000 for reply in replies])
        values = np.percentile(taken, [50, 90, 99, 100])
        return cls(
            len(replies),
            sum(reply.status != 200 for reply in replies),
            dict(zip(("p50", "p90", "p99", "max"), map(float, values), strict=True)),
        )


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        engine: queries a second of full passes on the engine alone.
        pair: the same with two passes at a time.
        http: queries a second over HTTP.
        ratio: over HTTP by the engine, round by round.
        pair_ratio: over HTTP by two passes at a time.
        closed: latency with all clients sending as fast as they get answers.
        steady: latency at 70 % of that load, open.
        memory: of the server at the end.
        origin: where the figures come from.
    """

    engine: Spread
    pair: Spread
    http: Spread
    ratio: Spread
    pair_ratio: Spread
    closed: Latency
    steady: Latency
    memory: Memory
    origin: dict[str, str]


def main(
    *,
    clients: Annotated[int, typer.Option(min=1, help="Connections.")] = 64,
    queries: Annotated[int, typer.Option(min=1, help="Queries in a body.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a pass.")] = 2,
    token_budget: Annotated[int, typer.Option(min=1, help="Tokens of a pass.")] = 1024,
    rounds: Annotated[int, typer.Option(min=1, help="Engine and HTTP in turns.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Of each turn.")] = 15,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/http_load.json"
    ),
) -> None:
    """Measure engine and service in turns; write JSON and print Markdown."""
    origin = provenance()
    settings = {
        "device": "cpu",
        "token_budget": str(token_budget),
        "cache": "off",
        "queue_size": str(4 * clients * queries),
    }
    engine_rates: list[float] = []
    pair_rates: list[float] = []
    http_rates, replies = [], []
    with ExitStack() as stack:
        arguments = ["engine", str(threads), str(token_budget)]
        engine = stack.enter_context(worker("http_load", arguments, threads=threads))
        server = stack.enter_context(running_server(settings, threads=threads))
        url = str(server.client.base_url)
        requests = bodies(queries)
        asyncio.run(closed_load(url, requests, clients=clients, seconds=min(5.0, seconds)))
        for number in range(rounds):
            # Every second round the other way, so that neither always follows the other.
            for side in ("engine", "http") if number % 2 else ("http", "engine"):
                if side == "engine":
                    for lanes, rates in ((1, engine_rates), (2, pair_rates)):
                        rates.append(engine.ask({"seconds": seconds, "lanes": lanes}))
                    continue
                started = time.monotonic()
                got = asyncio.run(closed_load(url, requests, clients=clients, seconds=seconds))
                answered = sum(reply.status == 200 for reply in got) * queries
                http_rates.append(answered / (time.monotonic() - started))
                replies += got
        rate = 0.7 * Spread.of(http_rates).median / queries
        steady = asyncio.run(open_load(url, requests, rate=rate, seconds=4 * seconds))
        memory = server.memory()
    origin |= {
        "threads": str(threads),
        "pass": f"{token_budget} tokens",
        "clients": f"{clients}, {queries} queries in a body, 16 relations in turns, top_k {TOP_K}",
        "turns": f"{rounds} of {seconds:g} s each; steady load {4 * seconds:g} s",
    }
    result = Result(
        Spread.of(engine_rates),
        Spread.of(pair_rates),
        Spread.of(http_rates),
        Spread.of_ratios(http_rates, engine_rates),
        Spread.of_ratios(http_rates, pair_rates),
        Latency.of(replies),
        Latency.of(steady),
        memory,
        origin,
    )
    finish(out, "HTTP beside the engine", _markdown(result, clients), result)


def bodies(queries: int) -> Iterator[bytes]:
    """Endless `/complete` requests of so many queries, about subjects in random order."""
    random = Random(0)
    about = list(subjects())
    names = [one.name for one in specialists(16)]
    while True:
        asked = random.sample(about, queries)
        start = random.randrange(len(names))
        body = [
            {"subject": subject, "relation": names[(start + place) % len(names)], "top_k": TOP_K}
            for place, subject in enumerate(asked)
        ]
        yield post("/complete", json.dumps({"queries": body}).encode())


def _engine(threads: int, token_budget: int) -> None:
    """A process with nothing but the engine: run full passes as asked, and answer the rate."""
    keep_buffers()
    engine = Engine(load_base("minilm-l6-mlm", device="cpu"), cache_bytes=96 * MIB)
    chosen = specialists(16)
    random = Random(0)
    about = list(subjects())
    assert len(about) == SUBJECT_COUNT
    probes = [
        chosen[place % len(chosen)].probe(engine.base, random.choice(about))
        for place in range(8 * token_budget)
    ]

    def run(lanes: int, end: float) -> int:
        torch.set_num_threads(max(1, threads // lanes))
        done, place = 0, random.randrange(len(probes))
        while time.perf_counter() < end:
            batch, tokens = [], 0
            while tokens + (size := len(probes[place].row.input_ids)) <= token_budget:
                batch.append(probes[place])
                tokens += size
                place = (place + 1) % len(probes)
            engine.read(batch)
            done += len(batch)
        return done

    with ThreadPoolExecutor() as pool:
        for message in messages():
            started = time.perf_counter()
            ends = [started + message["seconds"]] * message["lanes"]
            done = sum(pool.map(partial(run, message["lanes"]), ends))
            answer(done / (time.perf_counter() - started))


def _markdown(result: Result, clients: int) -> list[str]:
    rates = [
        ("the engine alone, full passes", result.engine.text(0), result.ratio.text()),
        ("the engine alone, two passes at a time", result.pair.text(0), result.pair_ratio.text()),
        (f"over HTTP, {clients} clients", result.http.text(0), ""),
    ]
    loads = [
        (
            name,
            one.requests,
            one.failed,
            *(f"{one.percentiles[p]:.0f}" for p in ("p50", "p90", "p99", "max")),
            f"{one.percentiles['p99'] / one.percentiles['p50']:.1f}",
        )
        for name, one in (("all that goes", result.closed), ("70 % of it, open", result.steady))
    ]
    header = ("load", "requests", "failed", "p50, ms", "p90", "p99", "max", "p99 / p50")
    return [
        table(("", "queries/s", "over HTTP by it"), rates),
        table(header, loads),
        f"The server holds {result.memory.text()} at the end.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        _engine(*map(int, sys.argv[2:]))
    else:
        typer.run(main)
