"""bfloat16 beside float32 on the same questions: how often the answers differ, and how much.

Also says how fast either is here, and what `dtype` auto takes.
"""

import time
from dataclasses import dataclass
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
from plm import Engine, Probe, TopTokens, load_base


@dataclass(frozen=True)
class Result:
    """bfloat16 against float32.

    Attributes:
        questions: how many were asked.
        top_1: share whose most likely word is the same.
        top_10: mean share of the ten most likely words that both name.
        largest: largest difference of a log-probability among the ten words of float32.
        mean: mean absolute difference of those.
        float32_rows_a_second: full passes.
        bfloat16_rows_a_second: likewise.
        auto: what `dtype` auto takes on this machine.
        origin: where the figures come from.
    """

    questions: int
    top_1: float
    top_10: float
    largest: float
    mean: float
    float32_rows_a_second: Spread
    bfloat16_rows_a_second: Spread
    auto: str
    origin: dict[str, str]


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
    """Ask both the same; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    random = Random(0)
    about = list(subjects())
    exact = Engine(load_base(base, device=device, dtype=torch.float32))
    half = Engine(load_base(base, device=device, dtype=torch.bfloat16))
    auto = load_base(base, device=device, dtype=None).dtype
    chosen = specialists(16)
    probes = [
        random.choice(chosen).probe(exact.base, random.choice(about)) for _ in range(questions)
    ]
    every = TopTokens(exact.base.vocab_size, words=True)
    same, shared, differences = [], [], []
    rates: dict[str, list[float]] = {"exact": [], "half": []}
    for start in range(0, questions, rows):
        asked = [Probe(one.row, one.mask, every) for one in probes[start : start + rows]]
        readings = {}
        for name, engine in (("exact", exact), ("half", half)):
            started = time.perf_counter()
            readings[name] = engine.read(asked)
            rates[name].append(len(asked) / (time.perf_counter() - started))
        for one, other in zip(readings["exact"], readings["half"], strict=True):
            assert one.token_ids is not None
            assert other.token_ids is not None
            same.append(one.token_ids[0] == other.token_ids[0])
            shared.append(len({*one.token_ids[:10].tolist()} & {*other.token_ids[:10].tolist()}))
            scores = dict(zip(other.token_ids.tolist(), other.log_probs.tolist(), strict=True))
            differences += [
                abs(value - scores[token])
                for token, value in zip(
                    one.token_ids[:10].tolist(), one.log_probs[:10], strict=True
                )
            ]
    origin |= {"base": base, "device": device, "threads": str(threads), "pass": f"{rows} rows"}
    result = Result(
        questions,
        float(np.mean(same)),
        float(np.mean(shared)) / 10,
        float(np.max(differences)),
        float(np.mean(differences)),
        Spread.of(rates["exact"]),
        Spread.of(rates["half"]),
        str(auto).removeprefix("torch."),
        origin,
    )
    finish(out, "bfloat16 beside float32", _markdown(result), result)


def _markdown(result: Result) -> list[str]:
    rows = [
        ("questions, 16 relations mixed", result.questions),
        ("the same most likely word", f"{result.top_1:.1%}"),
        ("words shared by the ten most likely", f"{result.top_10:.1%}"),
        ("largest difference of a log-probability", f"{result.largest:.3f}"),
        ("mean difference", f"{result.mean:.4f}"),
        ("float32, rows/s", result.float32_rows_a_second.text(0)),
        ("bfloat16, rows/s", result.bfloat16_rows_a_second.text(0)),
        ("`dtype` auto takes", result.auto),
    ]
    return [table(("", ""), rows), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
