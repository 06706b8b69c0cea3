"""A batch of 16 relations mixed, beside what the fill-mask pipeline of transformers can do.

The pipeline knows one model: for 16 specialists it needs 16 copies of the model (`copies`), or its
weights are rewritten before each relation's prompts (`rewritten`, the way of the paper's code).
Claim: at batch 32 at least 6 times the prompts a second of either, in less memory than two copies.
Each way runs in a process of its own, so that its memory is its own; the processes take turns.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import typer

from benchmarks.memory import MIB, Memory
from benchmarks.peer import fill_mask
from benchmarks.popularity import draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import TOP_K, Specialist, specialists
from benchmarks.tables import finish, provenance_line, table
from benchmarks.workers import answer, messages, worker
from masks import unpack_bits
from plm import Engine, Probe, TopTokens, encode_prompt, load_base

Way = Literal["relata", "copies", "rewritten"]
WAYS: tuple[Way, ...] = get_args(Way)
# Two sides that compute the same differ by rounding.
_SAME = 1e-4

# As the service has it by default.
_CACHE_BYTES = 96 * MIB

Answers = list[list[float]]


@dataclass(frozen=True)
class Batch:
    """Prompts of a round: a subject and the number of a specialist for each."""

    about: list[str]
    who: list[int]


@dataclass(frozen=True)
class WayResult:
    """What one way reached.

    Attributes:
        rows_a_second: over the rounds.
        ours_to_it: ratio of our rate to its, round by round.
        memory: of its process, at the end.
    """

    way: Way
    rows_a_second: Spread
    ours_to_it: Spread
    memory: Memory


@dataclass(frozen=True)
class Result:
    """All ways at all batch sizes."""

    by_rows: Mapping[int, Sequence[WayResult]]
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base.")] = "minilm-l6-mlm",
    masks: Annotated[int, typer.Option(min=1, help="How many relations.")] = 16,
    rows: Annotated[list[int] | None, typer.Option(help="Prompts of a batch.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Batches counted of each way.")] = 15,
    warm_up: Annotated[int, typer.Option(min=0, help="Batches before them.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/mixed_pipeline.json"
    ),
) -> None:
    """Measure the ways in turns; write JSON and print Markdown."""
    origin = provenance()
    by_rows: dict[int, list[WayResult]] = {}
    random = Random(0)
    about = list(subjects())
    with ExitStack() as stack:
        ways = {
            way: stack.enter_context(
                worker("mixed_pipeline", ["worker", way, base, str(masks)], threads=threads)
            )
            for way in WAYS
        }
        for size in rows or [1, 32]:
            rates: dict[Way, list[float]] = {way: [] for way in WAYS}
            for number in range(warm_up + rounds):
                who = draw(range(masks), size, "uniform", random)
                batch = Batch(random.sample(about, size), who)
                answers = {}
                for way in WAYS if number % 2 else reversed(WAYS):
                    found = ways[way].ask(asdict(batch))
                    answers[way] = found["scores"]
                    if number >= warm_up:
                        rates[way].append(size / found["seconds"])
                _check_same(answers)
            by_rows[size] = [
                WayResult(
                    way,
                    Spread.of(rates[way]),
                    Spread.of_ratios(rates["relata"], rates[way]),
                    ways[way].memory(),
                )
                for way in WAYS
            ]
    origin |= {
        "base": base,
        "relations": f"{masks}, drawn uniformly for each prompt",
        "threads": str(threads),
        "batches": f"{rounds} of each way, after {warm_up} not counted, in turns; top_k {TOP_K}",
    }
    result = Result(by_rows, origin)
    finish(out, "16 relations mixed, beside the fill-mask pipeline", _markdown(result), result)


def _check_same(answers: Mapping[Way, Answers]) -> None:
    """Refuse to compare ways that do not compute the same thing."""
    ours = torch.tensor(answers["relata"])
    for way, theirs in answers.items():
        difference = float((ours - torch.tensor(theirs)).abs().max())
        if difference > _SAME:
            raise RuntimeError(f"relata and {way} disagree by {difference}")


def _work(way: str, base: str, masks: int) -> None:
    """Answer batches from standard input until it closes."""
    chosen = specialists(masks)
    model = load_base(base, device="cpu")
    threads = torch.get_num_threads()
    if way == "relata":
        way_answers = _ours(Engine(model, cache_bytes=_CACHE_BYTES), chosen)
    elif way == "copies":
        way_answers = _copies(base, chosen, threads)
    else:
        way_answers = _rewritten(base, chosen, threads)
    if way != "relata":
        del model
    for message in messages():
        started = time.perf_counter()
        scores = way_answers(Batch(**message))
        answer({"seconds": time.perf_counter() - started, "scores": scores})


def _ours(engine: Engine, chosen: Sequence[Specialist]) -> Callable[[Batch], Answers]:
    def answer(batch: Batch) -> Answers:
        probes = [
            Probe(
                encode_prompt(engine.base, chosen[who].template, subject).row,
                chosen[who].mask,
                TopTokens(TOP_K),
            )
            for subject, who in zip(batch.about, batch.who, strict=True)
        ]
        return [np.exp(reading.log_probs).tolist() for reading in engine.read(probes)]

    return answer


def _copies(base: str, chosen: Sequence[Specialist], threads: int) -> Callable[[Batch], Answers]:
    pipelines = []
    for specialist in chosen:
        pipeline = fill_mask(base, threads=threads)
        _rewrite(pipeline.model, specialist, _weights(pipeline.model, specialist))
        pipelines.append(pipeline)

    def answer(batch: Batch) -> Answers:
        return _by_relation(batch, chosen, lambda who: pipelines[who])

    return answer


def _rewritten(base: str, chosen: Sequence[Specialist], threads: int) -> Callable[[Batch], Answers]:
    pipeline = fill_mask(base, threads=threads)
    kept = _weights(pipeline.model, chosen[0])
    keeps = [_keeps(specialist) for specialist in chosen]

    def turn_to(who: int) -> Any:
        with torch.no_grad():
            for name, keep in keeps[who].items():
                torch.mul(kept[name], keep, out=pipeline.model.get_parameter(name))
        return pipeline

    def answer(batch: Batch) -> Answers:
        return _by_relation(batch, chosen, turn_to)

    return answer


def _by_relation(
    batch: Batch, chosen: Sequence[Specialist], pipeline_of: Callable[[int], Any]
) -> Answers:
    """Each relation's prompts in one call, which is the most that a pipeline can batch."""
    answers: dict[int, list[float]] = {}
    for who in sorted(set(batch.who)):
        places = [place for place, one in enumerate(batch.who) if one == who]
        pipeline = pipeline_of(who)
        mask_token = pipeline.tokenizer.mask_token
        prompts = [chosen[who].template.fill(batch.about[p], mask_token) for p in places]
        found = pipeline(prompts, batch_size=len(prompts))
        # For one prompt the pipeline leaves the outer list away.
        for place, items in zip(places, found if len(prompts) > 1 else [found], strict=True):
            answers[place] = [item["score"] for item in items]
    return [answers[place] for place in range(len(batch.who))]


def _weights(model: Any, specialist: Specialist) -> dict[str, torch.Tensor]:
    return {name: model.get_parameter(name).detach().clone() for name in specialist.mask.shapes}


def _keeps(specialist: Specialist) -> dict[str, torch.Tensor]:
    mask = specialist.mask
    return {
        name: torch.from_numpy(unpack_bits(mask.packed[name], shape[1]).copy()).float()
        for name, shape in mask.shapes.items()
    }


def _rewrite(model: Any, specialist: Specialist, kept: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, keep in _keeps(specialist).items():
            model.get_parameter(name).copy_(kept[name] * keep)


def _markdown(result: Result) -> list[str]:
    names = {
        "relata": "one engine, the masks as bits",
        "copies": "pipeline, a copy of the model for each relation",
        "rewritten": "pipeline, weights rewritten for each relation",
    }
    lines = [
        (
            names[one.way],
            rows,
            one.rows_a_second.text(1),
            "" if one.way == "relata" else one.ours_to_it.text(1),
            f"{one.memory.rss / MIB:.0f}",
        )
        for rows, ways in result.by_rows.items()
        for one in ways
    ]
    header = ("way", "batch", "prompts/s", "ours, times it", "RSS, MiB")
    return [
        table(header, lines),
        "Medians over batches, least and largest in brackets.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        typer.run(main)
