"""`relata fill` of a file of a million rows, killed on the way and started again.

Claim: a file of any length is completed in memory that does not grow with it, and a run that is
broken off goes on where it was: every row comes out once, in its place.
"""

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import Annotated

import typer

from app.settings import shipped_packs
from benchmarks.memory import MIB, memory_of
from benchmarks.provenance import provenance
from benchmarks.questions import QUALITIES, THINGS
from benchmarks.tables import finish, provenance_line, table
from masks import MaskPack

_EVERY = 1.0  # seconds between two looks at the process


@dataclass(frozen=True)
class Run:
    """One start of `relata fill`.

    Attributes:
        seconds: that it ran, model loaded and all.
        rows: that lay in the output when it ended, those of runs before included.
        first_mib: resident when a tenth of its time was over, MiB.
        last_mib: resident at the end.
        killed: whether it was killed.
    """

    seconds: float
    rows: int
    first_mib: float
    last_mib: float
    killed: bool


@dataclass(frozen=True)
class Result:
    """The runs of one file.

    Attributes:
        runs: in their order; the last one ended by itself.
        rows: of the file.
        rows_a_second: over all of their time.
        origin: where the figures come from.
    """

    runs: tuple[Run, ...]
    rows: int
    rows_a_second: float
    origin: dict[str, str]


def main(
    *,
    rows: Annotated[int, typer.Option(min=1000, help="Rows of the file.")] = 1_000_000,
    kill_after: Annotated[float, typer.Option(min=5, help="Seconds of the first run.")] = 60,
    dtype: Annotated[str, typer.Option(help="Of the products.")] = "int8",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/fill_large.json"
    ),
) -> None:
    """Fill a file in two runs and look at every row; write JSON and print Markdown."""
    origin = provenance()
    relations = MaskPack.open(shipped_packs()[0]).relations
    settings = {"RELATA_DTYPE": dtype, "RELATA_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in.csv", Path(folder) / "out.csv"
        with source.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "subject", "relation"))
            writer.writerows(_rows(relations, rows))
        runs = [_run(source, output, settings, kill_after)]
        while runs[-1].killed:
            runs.append(_run(source, output, settings, None))
        _check(output, relations, rows)
    origin |= {
        "rows": f"{rows}, {len(relations)} relations in turns, subjects distinct under each; "
        "CSV to CSV, three completions a row",
        "products in": dtype,
        "threads": str(threads),
    }
    rate = rows / sum(run.seconds for run in runs)
    result = Result(tuple(runs), rows, rate, origin)
    finish(out, "A large file filled", _markdown(result), result)


def _rows(relations: tuple[str, ...], count: int) -> Iterator[tuple[int, str, str]]:
    """Numbered rows: every subject is new to its relation."""
    described = (f"{one} {other}" for one, other in product(QUALITIES, THINGS))
    pairs = (f"{one} and {other}" for one, other in product(list(described), repeat=2))
    names = cycle(relations)
    return (
        (number, subject, name)
        for number, (subject, name) in enumerate(zip(islice(pairs, count), names, strict=False))
    )


def _run(source: Path, output: Path, settings: dict[str, str], kill_after: float | None) -> Run:
    command = [sys.executable, "-m", "relata", "fill", str(source), str(output), "--top-k", "3"]
    started = time.perf_counter()
    looked: list[tuple[float, float]] = []
    killed = False
    with subprocess.Popen(
        command, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            elapsed = time.perf_counter() - started
            if kill_after is not None and elapsed > kill_after:
                process.send_signal(signal.SIGKILL)
                killed = True
                break
            with suppress(KeyError, OSError):  # it has just ended
                looked.append((elapsed, memory_of(process.pid).rss / MIB))
            time.sleep(_EVERY)
        status = process.wait()
    seconds = time.perf_counter() - started
    if status and not killed:
        raise RuntimeError(f"relata fill ended with status {status}")
    first = next(mib for elapsed, mib in looked if elapsed >= seconds / 10)
    written = output if output.exists() else output.with_name(output.name + ".part")
    there = 0
    if written.exists():
        with written.open(encoding="utf-8") as file:
            there = sum(1 for _ in file) - 1
    return Run(seconds, there, first, looked[-1][1], killed)


def _check(output: Path, relations: tuple[str, ...], rows: int) -> None:
    """Every row is there once, in its place, with three completions."""
    with output.open(newline="", encoding="utf-8") as file:
        found = csv.reader(file)
        next(found)
        for expected, row in zip(_rows(relations, rows), found, strict=True):
            if row[:3] != [str(part) for part in expected] or not all(row[3:9]):
                raise RuntimeError(f"row {expected} came out as {row}")


def _markdown(result: Result) -> list[str]:
    lines = [
        (
            "killed" if run.killed else "ended",
            f"{run.seconds:.0f}",
            f"{run.rows:,}",
            f"{run.first_mib:.0f}",
            f"{run.last_mib:.0f}",
        )
        for run in result.runs
    ]
    header = (
        "run",
        "seconds",
        "rows in the output then",
        "resident after a tenth of its time, MiB",
        "at its end",
    )
    return [
        table(header, lines),
        f"{result.rows:,} rows, each looked at in the end: all there once, in their places. "
        f"{result.rows_a_second:.0f} rows a second, both loadings of the model included.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
