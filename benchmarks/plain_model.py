"""The engine on the plain model beside what else runs it: ONNX Runtime, torch.compile, a pipeline.

Claim: specialisation costs nothing even where nobody asks for it; the unmasked engine is no slower
than ONNX Runtime's best on the same weights. Each side is given token ids and gives the ten most
likely tokens at one position of each sentence with their log-probabilities, so that tokenising
favours nobody (the pipeline alone is given text, which is its way of being asked). ONNX Runtime
runs the graph with its own fusions for BERT and computes the head at the asked positions alone;
in int8 its answers differ, by how much is shown.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.agreement import Agreement, Comparison, Ranked, agreement_table
from benchmarks.onnx_peer import OnnxPeer, export
from benchmarks.peer import TOP_K, fill_mask, published_model
from benchmarks.provenance import provenance
from benchmarks.questions import long_prompt, subjects
from benchmarks.roofline import pass_gflop, product_rate
from benchmarks.samples import Spread
from benchmarks.shapes import Shape, source_of
from benchmarks.tables import finish, provenance_line, table
from benchmarks.turns import one_round
from plm import (
    BaseModel,
    EncodedPrompt,
    Engine,
    Probe,
    Template,
    TopTokens,
    collate,
    dtype_named,
    load_base,
)

BASE = "minilm-l6-mlm"
_SETTLE = 0.05  # seconds
# Log-probabilities (B, K) and token ids (B, K) of the most likely tokens.
Answer = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Case:
    """One batch: its size, its sentences' length in tokens, and milliseconds of each side.

    Attributes:
        gflops: GFLOP/s of our pass's matrix products, over all of its time.
        of_product: that, over what torch reaches for a product of (tokens, H) x (H, 4 H).
    """

    batch: int
    tokens: int
    milliseconds: dict[str, Spread]
    ratios: dict[str, Spread]
    gflops: Spread
    of_product: Spread


@dataclass(frozen=True)
class Result:
    """What was measured."""

    cases: tuple[Case, ...]
    agreement: dict[str, Agreement]
    origin: dict[str, str]


def main(
    *,
    shape: Annotated[
        Shape | None, typer.Option(help="Drawn weights of this size, not the embedded base.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="What ours computes products in: float32, bfloat16 or int8.")
    ] = "float32",
    batches: Annotated[
        list[int] | None, typer.Option(min=1, max=512, help="Sentences of a batch.")
    ] = None,
    lengths: Annotated[
        list[int] | None, typer.Option(min=9, max=60, help="Tokens of a sentence.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns of the sides in each case.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of every side.")] = 2,
    compiled: Annotated[bool, typer.Option(help="Measure torch.compile too.")] = True,
    piped: Annotated[bool, typer.Option(help="Measure the pipeline too.")] = True,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/plain_model.json"
    ),
) -> None:
    """Measure batches of each size and length in turns; write JSON and print Markdown."""
    origin = provenance()
    torch.set_num_threads(threads)
    with source_of(shape, BASE) as source, tempfile.TemporaryDirectory() as folder:
        base = load_base(source, device="cpu", dtype=dtype_named(dtype))
        sides = _sides(base, source, Path(folder), threads=threads, compiled=compiled, piped=piped)
        apart = {name: Comparison() for name in sides if name != "ours"}
        cases = []
        for tokens in lengths or [9, 16, 40]:
            for batch in batches or [1, 8, 32, 128]:
                prompts = _prompts(base, batch, tokens)
                cases.append(_case(base, sides, prompts, rounds, apart))
    origin |= {
        "base": base.name,
        "ours computes in": str(base.products).removeprefix("torch."),
        "threads": str(threads),
        "rounds": f"{rounds} of each batch, after 3 not counted, the sides in turns, "
        f"each called for {_SETTLE} s before it is timed",
    }
    agreement = {name: one.agreement() for name, one in apart.items()}
    result = Result(tuple(cases), agreement, origin)
    finish(out, "The plain model, beside other runtimes", _markdown(result), result)


Ask = Callable[[list[EncodedPrompt]], Answer]


def _sides(
    base: BaseModel, source: str, folder: Path, *, threads: int, compiled: bool, piped: bool
) -> dict[str, Ask]:
    engine = Engine(base)
    wanted = TopTokens(TOP_K)

    def ours(prompts: list[EncodedPrompt]) -> Answer:
        readings = engine.read([Probe(prompt.row, None, wanted) for prompt in prompts])
        ids = [reading.token_ids for reading in readings if reading.token_ids is not None]
        return np.stack([reading.log_probs for reading in readings]), np.stack(ids).astype(np.int64)

    paths = export(source, folder, heads=base.heads, hidden=base.hidden_size)
    sides: dict[str, Ask] = {"ours": ours}
    for name, path in paths.items():
        peer = OnnxPeer(path, threads=threads)
        sides[f"ONNX Runtime, {name}"] = _onnx_side(base, peer)
    if compiled:
        model: Any = torch.compile(published_model(source), dynamic=True)

        def with_compile(prompts: list[EncodedPrompt]) -> Answer:
            batch = collate(prompts, base)
            with torch.inference_mode():
                logits: Tensor = model(batch.input_ids, batch.attention_mask).logits
                return _top(logits[torch.arange(len(prompts)), batch.mask_positions].numpy())

        sides["torch.compile of the published model"] = with_compile
    if piped:
        sides["fill-mask pipeline"] = _pipeline_side(source, threads)
    return sides


def _pipeline_side(source: str, threads: int) -> Ask:
    pipeline = fill_mask(source, threads=threads)

    def ask(prompts: list[EncodedPrompt]) -> Answer:
        found = pipeline([prompt.text for prompt in prompts], batch_size=len(prompts))
        rows = [found] if len(prompts) == 1 else found
        scores = np.array([[one["score"] for one in row] for row in rows], np.float32)
        return np.log(scores), np.array([[one["token"] for one in row] for row in rows])

    return ask


def _onnx_side(base: BaseModel, peer: OnnxPeer) -> Ask:
    def ask(prompts: list[EncodedPrompt]) -> Answer:
        batch = collate(prompts, base)
        arrays = (batch.input_ids, batch.attention_mask, batch.mask_positions)
        return _top(peer(*(part.numpy() for part in arrays)))

    return ask


def _top(logits: NDArray[np.float32]) -> Answer:
    scores = torch.from_numpy(logits)
    values, ids = scores.topk(TOP_K)
    return (values - scores.logsumexp(1, keepdim=True)).numpy(), ids.numpy()


def _prompts(base: BaseModel, batch: int, tokens: int) -> list[EncodedPrompt]:
    """Sentences of exactly that many tokens."""
    template = Template.parse("[X] is a [Y] .")
    made = (long_prompt(base, template, f"the {subject}", tokens) for subject in cycle(subjects()))
    return list(islice((one for one in made if len(one.input_ids) == tokens), batch))


def _rows(answer: Answer) -> list[Ranked]:
    return list(zip(*(part.tolist() for part in answer), strict=True))


def _case(
    base: BaseModel,
    sides: dict[str, Ask],
    prompts: list[EncodedPrompt],
    rounds: int,
    apart: dict[str, Comparison],
) -> Case:
    ours = _rows(sides["ours"](prompts))
    for name, comparison in apart.items():
        for mine, theirs in zip(ours, _rows(sides[name](prompts)), strict=True):
            comparison.add(mine, theirs)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gflop = pass_gflop(base, [prompt.row for prompt in prompts])
    tokens = sum(len(prompt.input_ids) for prompt in prompts)
    bare: list[float] = []
    hidden = base.hidden_size
    calls = {name: partial(ask, prompts) for name, ask in sides.items()}
    for number in range(rounds + 3):
        taken = one_round(calls, number, settle=_SETTLE)
        if number >= 3:
            for name, one in taken.items():
                seconds[name].append(one)
            bare.append(product_rate(tokens, hidden, 4 * hidden, base.products))
    gflops = [gflop / one for one in seconds["ours"]]
    return Case(
        len(prompts),
        len(prompts[0].input_ids),
        {name: Spread.of([1000 * one for one in values]) for name, values in seconds.items()},
        {
            name: Spread.of_ratios(values, seconds["ours"])
            for name, values in seconds.items()
            if name != "ours"
        },
        Spread.of(gflops),
        Spread.of_ratios(gflops, bare),
    )


def _markdown(result: Result) -> list[str]:
    peers = list(result.agreement)
    header = (
        "batch",
        "tokens",
        "ours, ms",
        "ours, GFLOP/s and of a bare product's rate",
        *(f"{name}: ms, and times ours" for name in peers),
    )
    rows = [
        (
            case.batch,
            case.tokens,
            f"{case.milliseconds['ours'].median:.1f}",
            f"{case.gflops.median:.0f}, {case.of_product.text()}",
            *(
                f"{case.milliseconds[name].median:.1f}, {case.ratios[name].text()}"
                for name in peers
            ),
        )
        for case in result.cases
    ]
    return [
        table(header, rows),
        "GFLOP/s are our pass's matrix products over all of its time, beside one product of its "
        "tokens with a matrix of (hidden, 4 hidden) in torch, in the same type.",
        agreement_table(result.agreement),
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
