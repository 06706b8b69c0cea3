"""Batches of 16 relations mixed, beside a pool of 16 ONNX Runtime sessions.

The pool is the plain way to serve specialists with a fast runtime: a graph for each relation, with
that relation's masked weights, and a session for each graph. Claims: one engine answers mixed
batches at a higher rate than the pool, and takes a sixteenth of its memory, beyond what both
processes hold before they have a model. Each way runs in a process of its own; they take turns.
Both sides are given token ids and give the ten most likely tokens with their log-probabilities; the
pool's processes import neither torch nor a tokenizer. In float32 the answers must agree.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.agreement import Agreement, Comparison, Ranked, agreement_table
from benchmarks.memory import MIB, Memory
from benchmarks.onnx_peer import export_graph, fuse, to_int8
from benchmarks.peer import published_model
from benchmarks.popularity import draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import TOP_K, Specialist, specialists
from benchmarks.tables import finish, provenance_line, table
from benchmarks.workers import Worker, answer, messages, worker
from masks import unpack_bits
from plm import BaseModel, EncodedRow, Engine, Probe, TopTokens, load_base

OURS = "one engine, the masks as bits"
FP32 = "16 sessions, fp32"
SIDE_BY_SIDE = "16 sessions, fp32, side by side"
INT8 = "16 sessions, int8"
WAYS = (OURS, FP32, SIDE_BY_SIDE, INT8)
# Two sides that compute the same differ by rounding.
_SAME = 1e-4
# As the service has it by default.
_CACHE_BYTES = 96 * MIB


@dataclass(frozen=True)
class Holding:
    """A way's process.

    Attributes:
        seconds: from its start to its first answer, of a prompt for each relation.
        imported: its memory before it has a model.
        ready: after that answer.
        end: after all batches.
    """

    seconds: float
    imported: Memory
    ready: Memory
    end: Memory

    @property
    def added(self) -> int:
        """Bytes that are resident at the end, and were not before it had a model."""
        return self.end.rss - self.imported.rss


@dataclass(frozen=True)
class Case:
    """A batch size: rows a second of each way, and ours over theirs, batch by batch."""

    rows: int
    rates: Mapping[str, Spread]
    ratios: Mapping[str, Spread]


@dataclass(frozen=True)
class Result:
    """What was measured."""

    cases: tuple[Case, ...]
    holdings: Mapping[str, Holding]
    agreement: Mapping[str, Agreement]
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base, a BERT.")] = "minilm-l6-mlm",
    masks: Annotated[int, typer.Option(min=1, help="Relations, and sessions.")] = 16,
    rows: Annotated[list[int] | None, typer.Option(help="Prompts of a batch.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Batches counted of each way.")] = 15,
    warm_up: Annotated[int, typer.Option(min=0, help="Batches before them.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/onnx_pool.json"
    ),
) -> None:
    """Measure the ways in turns; write JSON and print Markdown."""
    origin = provenance()
    torch.set_num_threads(threads)
    model = load_base(base, device="cpu")
    chosen = specialists(masks)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        _write_graphs(base, model, chosen, folder)
        starts = {
            OURS: ("onnx_pool", ["worker", base, str(masks)]),
            FP32: ("onnx_pool_worker", [str(folder / "fp32"), str(threads), "1"]),
            SIDE_BY_SIDE: ("onnx_pool_worker", [str(folder / "fp32"), "1", str(threads)]),
            INT8: ("onnx_pool_worker", [str(folder / "int8"), str(threads), "1"]),
        }
        first = _message(model, chosen, list(range(masks)), ["old knife"] * masks)
        ways: dict[str, Worker] = {}
        begun: dict[str, tuple[float, Memory, Memory]] = {}
        for way, (module, arguments) in starts.items():
            context = _started(module, arguments, threads, first)
            ways[way], begun[way] = stack.enter_context(context)
        batches = partial(_batch, model, chosen, Random(0), list(subjects()))
        cases, agreement = _measure(ways, batches, rows or [1, 8, 32], rounds, warm_up)
        holdings = {way: Holding(*begun[way], ways[way].memory()) for way in WAYS}
    origin |= {
        "onnxruntime": _onnxruntime_version(),
        "base": base,
        "relations": f"{masks}, drawn uniformly for each prompt",
        "threads": str(threads),
        "batches": f"{rounds} of each way, after {warm_up} not counted, in turns; top_k {TOP_K}",
    }
    result = Result(tuple(cases), holdings, agreement, origin)
    finish(out, "16 relations mixed, beside 16 ONNX Runtime sessions", _markdown(result), result)


def _write_graphs(base: str, model: BaseModel, chosen: Sequence[Specialist], folder: Path) -> None:
    """Write each relation's graph, in fp32 as exported and in int8 with the fusions for BERT."""
    import onnx  # noqa: PLC0415 - a peer, installed for benchmarks only

    plain, fused = folder / "plain.onnx", folder / "fused.onnx"
    export_graph(published_model(base, attn_implementation="eager"), plain, top=TOP_K)
    graph = onnx.load(str(plain))
    places = _places(graph, model, chosen[0])
    for kind in ("fp32", "int8"):
        (folder / kind).mkdir()
    for number, specialist in enumerate(chosen):
        for name, place in places.items():
            keep = unpack_bits(specialist.mask.packed[name], specialist.mask.shapes[name][1])
            masked = model.weight(name).numpy() * keep
            place.raw_data = np.ascontiguousarray(masked.T).tobytes()
        path = folder / "fp32" / f"{number:02}.onnx"
        onnx.save(graph, str(path))
        fuse(path, fused, heads=model.heads, hidden=model.hidden_size)
        to_int8(fused, folder / "int8" / path.name)


def _places(graph: Any, model: BaseModel, specialist: Specialist) -> dict[str, Any]:
    """Where the graph holds each weight that masks cover: exporting transposes and renames them.

    Raises:
        RuntimeError: a weight is not in the graph.
    """
    from onnx import numpy_helper  # noqa: PLC0415 - a peer, installed for benchmarks only

    matrices = [
        (initializer, numpy_helper.to_array(initializer))
        for initializer in graph.graph.initializer
        if len(initializer.dims) == 2
    ]
    places = {}
    for name in specialist.mask.shapes:
        weight = model.weight(name).numpy().T
        found = [place for place, matrix in matrices if np.array_equal(matrix, weight)]
        if len(found) != 1:
            raise RuntimeError(f"the exported graph holds {name} {len(found)} times, not once")
        places[name] = found[0]
    return places


@contextmanager
def _started(
    module: str, arguments: Sequence[str], threads: int, first: object
) -> Iterator[tuple[Worker, tuple[float, Memory, Memory]]]:
    """A way's process, how long it took to its first answer, and its memory before and then."""
    started = time.perf_counter()
    with worker(module, arguments, threads=threads) as process:
        process.receive()
        imported = process.memory()
        process.ask("load")
        process.ask(first)
        yield process, (time.perf_counter() - started, imported, process.memory())


def _message(
    base: BaseModel, chosen: Sequence[Specialist], who: Sequence[int], about: Sequence[str]
) -> dict[str, object]:
    rows = [chosen[one].row(base, subject) for one, subject in zip(who, about, strict=True)]
    return {
        "who": list(who),
        "ids": [row.input_ids for row in rows],
        "slots": [row.slots[0] for row in rows],
    }


def _batch(
    base: BaseModel, chosen: Sequence[Specialist], random: Random, about: Sequence[str], size: int
) -> dict[str, object]:
    who = draw(range(len(chosen)), size, "uniform", random)
    return _message(base, chosen, who, random.sample(about, size))


def _measure(
    ways: Mapping[str, Worker],
    batches: Callable[[int], object],
    sizes: Sequence[int],
    rounds: int,
    warm_up: int,
) -> tuple[list[Case], dict[str, Agreement]]:
    apart = {way: Comparison() for way in WAYS if way != OURS}
    cases = []
    for size in sizes:
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(warm_up + rounds):
            message = batches(size)
            found: dict[str, Sequence[Ranked]] = {}
            for way in WAYS if number % 2 else reversed(WAYS):
                reply = ways[way].ask(message)
                found[way] = reply["rows"]
                if number >= warm_up:
                    rates[way].append(size / reply["seconds"])
            for way, comparison in apart.items():
                for mine, theirs in zip(found[OURS], found[way], strict=True):
                    comparison.add(mine, theirs)
        cases.append(
            Case(
                size,
                {way: Spread.of(values) for way, values in rates.items()},
                {way: Spread.of_ratios(rates[OURS], rates[way]) for way in apart},
            )
        )
    agreement = {way: one.agreement() for way, one in apart.items()}
    for way in (FP32, SIDE_BY_SIDE):
        if agreement[way].largest > _SAME:
            raise RuntimeError(f"relata and {way} disagree by {agreement[way].largest}")
    return cases, agreement


def _work(base: str, masks: int) -> None:
    """Our way: answer batches until standard input closes."""
    asked = messages()
    answer("imported")
    next(asked)
    engine = Engine(load_base(base, device="cpu"), cache_bytes=_CACHE_BYTES)
    chosen = specialists(masks)
    answer("ready")
    for message in asked:
        started = time.perf_counter()
        probes = [
            Probe(EncodedRow(tuple(ids), (slot,)), chosen[one].mask, TopTokens(TOP_K))
            for one, ids, slot in zip(message["who"], message["ids"], message["slots"], strict=True)
        ]
        rows = [
            (reading.log_probs.tolist(), reading.token_ids.tolist())
            for reading in engine.read(probes)
            if reading.token_ids is not None
        ]
        answer({"seconds": time.perf_counter() - started, "rows": rows})


def _onnxruntime_version() -> str:
    import onnxruntime  # noqa: PLC0415 - a peer, installed for benchmarks only

    return str(onnxruntime.__version__)


def _markdown(result: Result) -> list[str]:
    peers = list(result.agreement)
    rates = [
        (
            case.rows,
            case.rates[OURS].text(0),
            *(f"{case.rates[way].text(0)}; {case.ratios[way].text()}" for way in peers),
        )
        for case in result.cases
    ]
    ours = result.holdings[OURS]
    memory = [
        (
            way,
            f"{one.seconds:.1f}",
            *(f"{part.rss / MIB:.0f}" for part in (one.imported, one.ready, one.end)),
            "" if one.end.pss is None else f"{one.end.pss / MIB:.0f}",
            f"{one.added / MIB:.0f}",
            "" if way == OURS else f"{ours.added / one.added:.2f}",
            "" if way == OURS else f"{ours.end.rss / one.end.rss:.2f}",
        )
        for way, one in result.holdings.items()
    ]
    return [
        table(("batch", f"{OURS}, rows/s", *(f"{w}; ours, times it" for w in peers)), rates),
        table(
            (
                "way",
                "start to first answers, s",
                "RSS without a model, MiB",
                "ready",
                "at the end",
                "PSS",
                "added by the models",
                "ours over it, added",
                "ours over it, all",
            ),
            memory,
        ),
        agreement_table(result.agreement),
        "Medians over batches, least and largest in brackets.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(sys.argv[2], int(sys.argv[3]))
    else:
        typer.run(main)
