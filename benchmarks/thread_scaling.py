"""What a second thread brings to a full pass, beside what it brings to a bare product and a copy.

Claim: passes of mixed masks scale over threads as this machine's matrix products do. Four ways to
use the processors are compared: one thread, several threads of one pass, as many passes side by
side with a thread each (as the service does under load), and as many processes with a thread each.
The roofline (one large float32 product, and a copy of memory) is measured in the same four ways, in
turns with the passes.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import torch
import typer

from benchmarks.memory import MIB
from benchmarks.popularity import draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.roofline import copy, product, product_gflop
from benchmarks.samples import Spread
from benchmarks.specialists import specialists, unmasked
from benchmarks.tables import finish, provenance_line, table
from benchmarks.turns import one_round
from benchmarks.workers import Worker, answer, messages, worker
from plm import Engine, load_base

Kind = Literal["16 relations mixed", "unmasked", "product", "copy"]

_PASSES: tuple[Kind, ...] = ("16 relations mixed", "unmasked")
_MASKS = 16
_CACHE_BYTES = 96 * MIB
_SIDE = 2048
_GIGABYTES = 0.25


@dataclass(frozen=True)
class Work:
    """What is done again and again.

    Attributes:
        kind: a pass with or without masks, or a part of the roofline.
        rows: of a pass; 0 elsewhere.
    """

    kind: Kind
    rows: int = 0

    @property
    def name(self) -> str:
        """As the table has it, with the unit of its rate."""
        if self.kind == "product":
            return f"product of {_SIDE} x {_SIDE} matrices, GFLOP/s"
        if self.kind == "copy":
            return f"copy of {_GIGABYTES} GB, GB/s"
        return f"{self.kind}, {self.rows} rows, rows/s"

    @property
    def amount(self) -> float:
        """Rows, GFLOP or GB of one call."""
        if self.kind == "product":
            return product_gflop(_SIDE, _SIDE, _SIDE)
        return _GIGABYTES if self.kind == "copy" else self.rows


@dataclass(frozen=True)
class Case:
    """A work: its rate in each way, and that rate over the first way's, round by round."""

    work: str
    rates: Mapping[str, Spread]
    ratios: Mapping[str, Spread]


@dataclass(frozen=True)
class Result:
    """All works, and where they come from."""

    cases: tuple[Case, ...]
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    rows: Annotated[list[int] | None, typer.Option(help="Rows of a pass.")] = None,
    threads: Annotated[int, typer.Option(min=2, help="CPU threads, beside one.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Turns counted of each way.")] = 11,
    warm_up: Annotated[int, typer.Option(min=0, help="Turns before them.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/thread_scaling.json"
    ),
) -> None:
    """Measure every work in every way in turns; write JSON and print Markdown."""
    if threads > (usable := len(os.sched_getaffinity(0))):
        raise typer.BadParameter(f"there are {usable} processors here, not {threads}")
    origin = provenance()
    works = [
        *(Work(kind, size) for size in rows or [32, 128] for kind in _PASSES),
        Work("product"),
        Work("copy"),
    ]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(worker("thread_scaling", ["worker", base], threads=1))
            for _ in range(threads)
        ]
        for process in processes:
            process.receive()
        lanes = stack.enter_context(
            ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        )
        hands = Hands(base)
        cases = [
            _measure(hands, lanes, processes, work, rounds=rounds, warm_up=warm_up)
            for work in works
        ]
    origin |= {
        "base": base,
        "threads": f"1 and {threads}",
        "rounds": f"{rounds} of each way, after {warm_up} not counted, in turns",
    }
    result = Result(tuple(cases), origin)
    finish(out, "Threads", _markdown(result), result)


class Hands:
    """What a process works with: an engine and its masks."""

    def __init__(self, base: str) -> None:
        self._engine = Engine(load_base(base, device="cpu"), cache_bytes=_CACHE_BYTES)
        self._chosen = specialists(_MASKS)
        self._about = list(subjects())
        self._parts: dict[tuple[Kind, int], Callable[[], object]] = {}

    def prepared(self, work: Work, lane: int, seed: int) -> Callable[[], object]:
        """A call that does the work, with prompts and masks by the seed.

        Calls of different lanes share no memory that they write to.
        """
        if work.kind in ("product", "copy"):
            return self._bare(work.kind, lane)
        random = Random(seed)
        who = draw(self._chosen, work.rows, "uniform", random)
        probes = [one.probe(self._engine.base, random.choice(self._about)) for one in who]
        if work.kind == "unmasked":
            probes = [unmasked(probe) for probe in probes]
        return lambda: self._engine.read(probes)

    def _bare(self, kind: Kind, lane: int) -> Callable[[], object]:
        """A part of the roofline, always on the same memory."""
        if (kind, lane) not in self._parts:
            made = product(_SIDE, _SIDE, _SIDE) if kind == "product" else copy(_GIGABYTES)
            self._parts[kind, lane] = made
        return self._parts[kind, lane]


def _measure(
    hands: Hands,
    lanes: ThreadPoolExecutor,
    processes: Sequence[Worker],
    work: Work,
    *,
    rounds: int,
    warm_up: int,
) -> Case:
    count = len(processes)
    names = {
        "1 thread": 1,
        f"{count} threads": 1,
        f"{count} side by side": count,
        f"{count} processes": count,
    }
    one, several, side_by_side, apart = names
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        # The same prompts in every way, as far as a way asks them.
        seeds = [number * count + lane for lane in range(count)]
        calls = [hands.prepared(work, lane, seed) for lane, seed in enumerate(seeds)]
        for process, seed in zip(processes, seeds, strict=True):
            process.ask({"work": asdict(work), "seed": seed})
        seconds = one_round(
            {
                one: partial(_with_threads, 1, calls[0]),
                several: partial(_with_threads, count, calls[0]),
                side_by_side: partial(_side_by_side, lanes, calls),
                apart: partial(_all_at_once, processes),
            },
            number,
        )
        if number >= warm_up:
            for name, passes in names.items():
                rates[name].append(passes * work.amount / seconds[name])
    return Case(
        work.name,
        {name: Spread.of(values) for name, values in rates.items()},
        {name: Spread.of_ratios(rates[name], rates[one]) for name in names if name != one},
    )


def _with_threads(count: int, call: Callable[[], object]) -> None:
    torch.set_num_threads(count)
    call()


def _side_by_side(lanes: ThreadPoolExecutor, calls: Sequence[Callable[[], object]]) -> None:
    for done in [lanes.submit(call) for call in calls]:
        done.result()


def _all_at_once(processes: Sequence[Worker]) -> None:
    for process in processes:
        process.send("go")
    for process in processes:
        process.receive()


def _work(base: str) -> None:
    """A process of its own: prepare what a message says, then do it when told to."""
    torch.set_num_threads(1)
    hands = Hands(base)
    answer("ready")
    asked = messages()
    for message in asked:
        call = hands.prepared(Work(**message["work"]), 0, message["seed"])
        answer("prepared")
        next(asked)
        call()
        answer("done")


def _markdown(result: Result) -> list[str]:
    first, *others = result.cases[0].rates
    header = ("", first, *(f"{name}; times {first}" for name in others))
    rows = []
    for case in result.cases:
        digits = 0 if min(rate.median for rate in case.rates.values()) >= 50 else 1
        rates = {name: rate.text(digits) for name, rate in case.rates.items()}
        beside = (f"{rates[name]}; {case.ratios[name].text()}" for name in others)
        rows.append((case.work, rates[first], *beside))
    return [
        table(header, rows),
        "Medians over turns, least and largest in brackets.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(sys.argv[2])
    else:
        typer.run(main)
