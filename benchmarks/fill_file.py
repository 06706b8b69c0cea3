"""`relata fill` beside a loop over the rows with the fill-mask pipeline, and a pipeline in batches.

Claim: a file of rows with 16 relations mixed is completed several times faster than by a program
that asks a pipeline for each row, which knows no relation at all. The pipeline is given the rows'
own prompts; how it does in batches stands beside it. All three rank the same tokens.
"""

import csv
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from app.fill import FillOptions, fill
from app.service import Service
from app.settings import load_settings
from benchmarks.peer import TOP_K, fill_mask
from benchmarks.provenance import provenance
from benchmarks.questions import Question, Questioner
from benchmarks.samples import Spread
from benchmarks.tables import finish, provenance_line, table

_BATCH = 32
_CHECKED = 20
_SAME = 1e-4


@dataclass(frozen=True)
class Result:
    """What was measured; rows a second.

    Attributes:
        ours: of `fill`, file to file.
        loop: of a call of the pipeline for each row.
        batched: of the pipeline with all rows in batches of 32.
        times_loop: ours over the loop's, round by round.
        times_batched: ours over the batched pipeline's.
        origin: where the figures come from.
    """

    ours: Spread
    loop: Spread
    batched: Spread
    times_loop: Spread
    times_batched: Spread
    origin: dict[str, str]


def main(
    *,
    rows: Annotated[int, typer.Option(min=64, help="Rows that `fill` completes.")] = 4096,
    peer_rows: Annotated[int, typer.Option(min=32, help="Of them, those given to a peer.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of the three sides.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/fill_file.json"
    ),
) -> None:
    """Measure rows a second in turns; write JSON and print Markdown."""
    origin = provenance()
    service = Service.load(load_settings({"threads": str(threads), "dtype": "float32"}))
    pipeline = fill_mask(service.settings.base, threads=threads)
    served = service.catalogue.served
    templates = {name: served[name].mask.metadata.templates[0] for name in sorted(served)}
    questioner = Questioner(templates, service.engine.base.mask_token)
    rates: dict[str, list[float]] = {"ours": [], "loop": [], "batched": []}
    with tempfile.TemporaryDirectory() as folder:
        questions = questioner.ask(_subjects(questioner, rows), rotating=True)
        _check(service, pipeline, questions[:_CHECKED], Path(folder))
        asked = [question.prompt for question in questions[:peer_rows]]
        sides: dict[str, tuple[int, Callable[[], object]]] = {
            "ours": (rows, lambda: _fill(service, questions, Path(folder), masked=True)),
            "loop": (peer_rows, lambda: _loop(pipeline, asked, threads)),
            "batched": (peer_rows, lambda: pipeline(asked, batch_size=_BATCH)),
        }
        for number in range(rounds + 1):
            for name, (count, run) in sides.items():
                started = time.perf_counter()
                run()
                if number:  # the first round warms up
                    rates[name].append(count / (time.perf_counter() - started))
    service.close()
    origin |= {
        "base": service.settings.base,
        "threads": str(threads),
        "rows": f"{rows}, relations of {len(templates)} in turns, subjects distinct; CSV to CSV",
        "peer": f"{peer_rows} of the rows; unmasked; one call a row, and batches of {_BATCH}",
        "rounds": f"{rounds}, after one not counted; top_k {TOP_K}",
    }
    spreads = {name: Spread.of(values) for name, values in rates.items()}
    result = Result(
        **spreads,
        times_loop=Spread.of_ratios(rates["ours"], rates["loop"]),
        times_batched=Spread.of_ratios(rates["ours"], rates["batched"]),
        origin=origin,
    )
    finish(out, "Files filled, beside a pipeline loop", _markdown(result), result)


def _subjects(questioner: Questioner, count: int) -> list[str]:
    """As many subjects as there are rows; each pair of two of them is a new one."""
    simple = questioner.take(count)
    if len(simple) == count:
        return simple
    pairs = (f"{one} and {other}" for one in simple for other in simple[1:])
    return [*simple, *islice(pairs, count - len(simple))]


def _fill(service: Service, questions: Sequence[Question], folder: Path, *, masked: bool) -> Path:
    source, output = folder / "in.csv", folder / "out.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("subject", "relation"))
        writer.writerows((question.subject, question.relation) for question in questions)
    output.unlink(missing_ok=True)
    fill(service, source, output, FillOptions(top_k=TOP_K, masked=masked))
    return output


def _loop(pipeline: Any, prompts: Sequence[str], threads: int) -> None:
    torch.set_num_threads(threads)
    for prompt in prompts:
        pipeline(prompt)


def _check(service: Service, pipeline: Any, questions: Sequence[Question], folder: Path) -> None:
    """Unmasked, our best whole word must be the pipeline's, with the same score."""
    with _fill(service, questions, folder, masked=False).open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    for row, question in zip(found, questions, strict=True):
        theirs = {one["token_str"].strip(): one["score"] for one in pipeline(question.prompt)}
        score = float(row["score_1"])
        if row["object_1"] in theirs and abs(theirs[row["object_1"]] - score) < _SAME:
            continue
        if score > min(theirs.values()):
            raise RuntimeError(f"the sides do not answer {question.prompt!r} alike")


def _markdown(result: Result) -> list[str]:
    rows = [
        ("`relata fill`, 16 relations mixed", result.ours.text(0), ""),
        ("pipeline, a call for each row", result.loop.text(0), result.times_loop.text(1)),
        ("pipeline, batches of 32", result.batched.text(0), result.times_batched.text(1)),
    ]
    return [table(("", "rows a second", "fill is faster"), rows), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
