"""A batch of many specialists beside the same batch on the same engine without masks.

Claim: a full pass of 16 relations mixed keeps at least 0.7 of the unmasked engine's rate on a CPU,
whatever their popularity, and 1,600 masks work without a cliff.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

import torch
import typer

from benchmarks.memory import MIB, memory_of
from benchmarks.popularity import POPULARITIES, Popularity, draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import Specialist, specialists, unmasked
from benchmarks.tables import finish, provenance_line, table
from plm import Engine, Probe, load_base


@dataclass(frozen=True)
class Case:
    """What was measured together: passes with and without masks, one after the other.

    Attributes:
        masks: how many there are to choose from.
        popularity: how the rows choose.
        rows: of a pass.
        tokens: of a pass, the mean.
        sets: different masks in a pass, the mean.
        cache_mib: memory for masked weights kept ready, MiB.
        masked_rows_a_second: with masks.
        unmasked_rows_a_second: without.
        ratio: of the two, pass by pass.
    """

    masks: int
    popularity: Popularity
    rows: int
    tokens: float
    sets: float
    cache_mib: int
    masked_rows_a_second: Spread
    unmasked_rows_a_second: Spread
    ratio: Spread


@dataclass(frozen=True)
class Result:
    """All cases, what the process holds at the end, and where they come from."""

    cases: Sequence[Case]
    rss_mib: float
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    pack: Annotated[Path | None, typer.Option(help="Mask pack (default: the shipped one).")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    masks: Annotated[list[int] | None, typer.Option(help="Numbers of masks.")] = None,
    rows: Annotated[list[int] | None, typer.Option(help="Rows of a pass.")] = None,
    cache_mib: Annotated[int, typer.Option(min=0, help="Memory for masked weights, MiB.")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="Passes counted of each case.")] = 15,
    warm_up: Annotated[int, typer.Option(min=0, help="Passes before them.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/mixed_masks.json"
    ),
) -> None:
    """Measure passes with and without masks in turns; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    model = load_base(base, device="cpu")
    cases = []
    for count in masks or [16, 1600]:
        chosen = specialists(count, pack)
        for size in rows or [32, 128]:
            for popularity in POPULARITIES:
                engine = Engine(model, cache_bytes=cache_mib * MIB)
                cases.append(
                    measure(
                        engine,
                        chosen,
                        rows=size,
                        popularity=popularity,
                        rounds=rounds,
                        warm_up=warm_up,
                    )
                )
                typer.echo(f"{cases[-1]}", err=True)
    origin |= {
        "base": f"{model.name} {model.digest}",
        "dtype and device": f"{str(model.dtype).removeprefix('torch.')}, {model.device}",
        "threads": str(threads),
        "passes": f"{rounds} of each, after {warm_up} not counted, masked and unmasked in turns",
        "masks": "those of the pack, and beyond them unions of two, three, ... of them",
    }
    result = Result(cases, memory_of("self").rss / MIB, origin)
    finish(out, "Many specialists in one batch", _markdown(result), result)


def measure(
    engine: Engine,
    chosen: Sequence[Specialist],
    *,
    rows: int,
    popularity: Popularity,
    rounds: int,
    warm_up: int,
) -> Case:
    """Time passes of fresh prompts."""
    random = Random(rows)
    about = list(subjects())
    with_masks, without, tokens, sets = [], [], [], []
    for number in range(warm_up + rounds):
        who = draw(chosen, rows, popularity, random)
        probes = [one.probe(engine.base, random.choice(about)) for one in who]
        plain = [unmasked(probe) for probe in probes]
        # Every second pass the other way round, so that neither always follows the other.
        if number % 2:
            slow, fast = _seconds(engine, probes), _seconds(engine, plain)
        else:
            fast, slow = _seconds(engine, plain), _seconds(engine, probes)
        if number >= warm_up:
            with_masks.append(rows / slow)
            without.append(rows / fast)
            tokens.append(sum(len(probe.row.input_ids) for probe in probes))
            sets.append(len({one.mask.digest for one in who}))
    return Case(
        len(chosen),
        popularity,
        rows,
        sum(tokens) / rounds,
        sum(sets) / rounds,
        engine.cache.stats().capacity // MIB,
        Spread.of(with_masks),
        Spread.of(without),
        Spread.of_ratios(with_masks, without),
    )


def _seconds(engine: Engine, probes: Sequence[Probe]) -> float:
    started = time.perf_counter()
    engine.read(probes)
    return time.perf_counter() - started


def _markdown(result: Result) -> list[str]:
    header = (
        "masks",
        "popularity",
        "rows",
        "tokens",
        "mask sets",
        "masked, rows/s",
        "unmasked, rows/s",
        "ratio",
    )
    lines = [
        (
            case.masks,
            case.popularity,
            case.rows,
            f"{case.tokens:.0f}",
            f"{case.sets:.1f}",
            case.masked_rows_a_second.text(0),
            case.unmasked_rows_a_second.text(0),
            case.ratio.text(),
        )
        for case in result.cases
    ]
    return [
        table(header, lines),
        f"Medians over passes, least and largest in brackets. The process holds "
        f"{result.rss_mib:.0f} MiB at the end.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
