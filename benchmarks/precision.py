"""bfloat16 and int8 beside float32 on the same questions: how far the answers are apart, how fast.

Also says what `dtype` auto takes. What they cost in MRR on held-out facts is measured by
`relata evaluate --dtype`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import specialists
from benchmarks.tables import finish, provenance_line, table
from plm import BaseModelError, Engine, Probe, Reading, TopTokens, load_base

_REDUCED = ("bfloat16", "int8")


@dataclass(frozen=True)
class Case:
    """A type against float32.

    Attributes:
        dtype: that products were computed in.
        top_1: share of questions whose most likely word is the same.
        top_10: mean share of the ten most likely words that both name.
        largest: largest difference of a log-probability among the ten words of float32.
        mean: mean absolute difference of those.
        rows_a_second: full passes.
        faster: its rate over float32's, pass by pass.
    """

    dtype: str
    top_1: float
    top_10: float
    largest: float
    mean: float
    rows_a_second: Spread
    faster: Spread


@dataclass(frozen=True)
class Result:
    """All types, and what `dtype` auto takes on this machine."""

    float32_rows_a_second: Spread
    cases: Sequence[Case]
    refused: Mapping[str, str]
    auto: str
    origin: dict[str, str]


@dataclass
class _Differences:
    """Of a type's readings from those of float32."""

    same: list[bool] = field(default_factory=list)
    shared: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, exact: Reading, other: Reading) -> None:
        assert exact.token_ids is not None
        assert other.token_ids is not None
        first, second = exact.token_ids.tolist(), other.token_ids.tolist()
        self.same.append(first[0] == second[0])
        self.shared.append(len({*first[:10]} & {*second[:10]}))
        found = dict(zip(second, other.log_probs.tolist(), strict=True))
        self.scores += [
            abs(value - found[token])
            for token, value in zip(first[:10], exact.log_probs[:10].tolist(), strict=True)
        ]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    questions: Annotated[int, typer.Option(min=1, help="How many.")] = 1024,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a pass.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/precision.json"
    ),
) -> None:
    """Ask all types the same; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    random = Random(0)
    about = list(subjects())
    engines = {"float32": Engine(load_base(base, device=device, dtype=torch.float32))}
    refused = {}
    for name in _REDUCED:
        try:
            engines[name] = Engine(load_base(base, device=device, dtype=getattr(torch, name)))
        except BaseModelError as error:
            refused[name] = str(error)
    auto = load_base(base, device=device, dtype=None).products
    chosen = specialists(16)
    exact = engines["float32"].base
    probes = [random.choice(chosen).probe(exact, random.choice(about)) for _ in range(questions)]
    every = TopTokens(exact.vocab_size, words=True)
    differences = {name: _Differences() for name in engines}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for start in range(0, questions, rows):
        asked = probes[start : start + rows]
        for name, engine in engines.items():
            started = time.perf_counter()
            engine.read(asked)
            rates[name].append(len(asked) / (time.perf_counter() - started))
        whole = [Probe(one.row, one.mask, every) for one in asked]
        readings = {name: engine.read(whole) for name, engine in engines.items()}
        for name, found in readings.items():
            for one, other in zip(readings["float32"], found, strict=True):
                differences[name].add(one, other)
    origin |= {
        "base": base,
        "device": device,
        "threads": str(threads),
        "pass": f"{rows} rows",
        "questions": f"{questions}, 16 relations mixed",
    }
    result = Result(
        Spread.of(rates["float32"]),
        [
            Case(
                name,
                float(np.mean(differences[name].same)),
                float(np.mean(differences[name].shared)) / 10,
                float(np.max(differences[name].scores)),
                float(np.mean(differences[name].scores)),
                Spread.of(rates[name]),
                Spread.of_ratios(rates[name], rates["float32"]),
            )
            for name in engines
            if name != "float32"
        ],
        refused,
        str(auto).removeprefix("torch."),
        origin,
    )
    finish(out, "bfloat16 and int8 beside float32", _markdown(result), result)


def _markdown(result: Result) -> list[str]:
    header = (
        "products in",
        "rows/s",
        "times float32",
        "the same most likely word",
        "of the ten most likely, shared",
        "largest difference of a log-probability",
        "mean",
    )
    rows = [("float32", result.float32_rows_a_second.text(0), *[""] * 5)]
    rows += [
        (
            case.dtype,
            case.rows_a_second.text(0),
            case.faster.text(),
            f"{case.top_1:.1%}",
            f"{case.top_10:.1%}",
            f"{case.largest:.3f}",
            f"{case.mean:.4f}",
        )
        for case in result.cases
    ]
    notes = [f"`dtype` auto takes {result.auto} here.", *result.refused.values()]
    return [table(header, rows), " ".join(notes), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
