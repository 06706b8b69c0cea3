"""A batch of many specialists beside the same batch on the same engine without masks.

Claim: a full pass of 16 relations mixed keeps at least 0.7 of the unmasked engine's rate on a CPU,
whatever their popularity, and 1,600 masks work without a cliff.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Annotated

import torch
import typer

from benchmarks.memory import MIB, memory_of
from benchmarks.popularity import POPULARITIES, Popularity, draw
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.roofline import pass_gflop, product_rate
from benchmarks.samples import Spread
from benchmarks.shapes import Shape, drawn_masks, source_of
from benchmarks.specialists import Specialist, masks_of, specialists_of, unmasked
from benchmarks.tables import finish, provenance_line, table
from benchmarks.turns import one_round
from plm import Engine, dtype_named, load_base


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
        gflops: GFLOP/s of the masked pass's matrix products, over all of its time.
        of_product: that, over what torch reaches for a product of (tokens, H) x (H, 4 H), in the
            same type.
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
    gflops: Spread
    of_product: Spread


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
    shape: Annotated[
        Shape | None, typer.Option(help="Drawn weights and masks of this size, in their place.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="What ours computes products in: float32, bfloat16 or int8.")
    ] = "float32",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    masks: Annotated[list[int] | None, typer.Option(help="Numbers of masks.")] = None,
    rows: Annotated[list[int] | None, typer.Option(min=1, max=512, help="Rows of a pass.")] = None,
    tokens: Annotated[
        list[int] | None, typer.Option(min=0, max=60, help="Tokens of a row, at least.")
    ] = None,
    popularity: Annotated[
        list[str] | None,
        typer.Option(help=f"How rows choose masks: {', '.join(POPULARITIES)} (default: all)."),
    ] = None,
    cache_mib: Annotated[int, typer.Option(min=0, help="Memory for masked weights, MiB.")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="Passes counted of each case.")] = 15,
    warm_up: Annotated[int, typer.Option(min=0, help="Passes before them.")] = 3,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/mixed_masks.json"
    ),
) -> None:
    """Measure passes with and without masks in turns; write JSON and print Markdown."""
    if unknown := sorted(set(popularity or ()) - set(POPULARITIES)):
        raise typer.BadParameter(f"popularity {unknown[0]} is none of {', '.join(POPULARITIES)}")
    kinds = [kind for kind in POPULARITIES if popularity is None or kind in popularity]
    torch.set_num_threads(threads)
    origin = provenance()
    with source_of(shape, base) as source:
        model = load_base(source, device="cpu", dtype=dtype_named(dtype))
    packed = masks_of(pack)
    if shape is not None:
        packed = drawn_masks(model, packed)
    cases = []
    for count in masks or [16, 1600]:
        chosen = specialists_of(packed, count)
        for size, length, kind in product(rows or [32, 128], tokens or [0], kinds):
            engine = Engine(model, cache_bytes=cache_mib * MIB)
            cases.append(
                measure(
                    engine,
                    chosen,
                    rows=size,
                    tokens=length,
                    popularity=kind,
                    rounds=rounds,
                    warm_up=warm_up,
                )
            )
            typer.echo(f"{cases[-1]}", err=True)
    origin |= {
        "base": f"{model.name} {model.digest}",
        "dtype and device": f"{str(model.products).removeprefix('torch.')}, {model.device}",
        "threads": str(threads),
        "passes": f"{rounds} of each, after {warm_up} not counted and a question under each mask, "
        "masked and unmasked in turns",
        "masks": f"{'those of the pack' if shape is None else '16 that keep half, drawn'}, "
        "and beyond them unions of two, three, ... of them",
    }
    result = Result(cases, memory_of("self").rss / MIB, origin)
    finish(out, "Many specialists in one batch", _markdown(result), result)


def measure(
    engine: Engine,
    chosen: Sequence[Specialist],
    *,
    rows: int,
    tokens: int,
    popularity: Popularity,
    rounds: int,
    warm_up: int,
) -> Case:
    """Time passes of fresh prompts, each of so many tokens at least."""
    random = Random(rows)
    about = list(subjects())
    hidden = engine.base.hidden_size
    # What is looked up once for a mask; of masks that are new, benchmarks.new_union tells.
    engine.read([one.probe(engine.base, about[0]) for one in chosen])
    with_masks, without, counted, sets, gflops, bare = [], [], [], [], [], []
    for number in range(warm_up + rounds):
        who = draw(chosen, rows, popularity, random)
        probes = [one.probe(engine.base, random.choice(about), tokens) for one in who]
        plain = [unmasked(probe) for probe in probes]
        sides = {"unmasked": partial(engine.read, plain), "masked": partial(engine.read, probes)}
        seconds = one_round(sides, number)
        if number >= warm_up:
            with_masks.append(rows / seconds["masked"])
            without.append(rows / seconds["unmasked"])
            prompts = [probe.row for probe in probes]
            counted.append(sum(len(row.input_ids) for row in prompts))
            gflops.append(pass_gflop(engine.base, prompts) / seconds["masked"])
            bare.append(product_rate(counted[-1], hidden, 4 * hidden, engine.base.products))
            sets.append(len({one.mask.digest for one in who}))
    return Case(
        len(chosen),
        popularity,
        rows,
        sum(counted) / rounds,
        sum(sets) / rounds,
        engine.cache.stats().capacity // MIB,
        Spread.of(with_masks),
        Spread.of(without),
        Spread.of_ratios(with_masks, without),
        Spread.of(gflops),
        Spread.of_ratios(gflops, bare),
    )


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
        "masked, GFLOP/s",
        "of a bare product's rate",
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
            f"{case.gflops.median:.0f}",
            case.of_product.text(),
        )
        for case in result.cases
    ]
    return [
        table(header, lines),
        f"Medians over passes, least and largest in brackets. GFLOP/s are the pass's matrix "
        f"products over all of its time, beside one product of its tokens with a matrix of "
        f"(hidden, 4 hidden) in torch, in the same type. The process holds "
        f"{result.rss_mib:.0f} MiB at the end.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
