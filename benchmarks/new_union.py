"""The first answer under a union of relations that nobody asked for before.

Claim: what is new costs about as much as a copy of the union's dense weights would: the first
answer takes less than 1.5 times such a copy longer than an answer under a union that is warm. The
first answer includes the making of the union from its relations' packed bits. The copy is of all
matrices that the union covers, in float32, into memory that is in use already: what the fastest
program that makes W * M before it answers cannot do without.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Annotated

import torch
import typer

from benchmarks.memory import MIB
from benchmarks.provenance import provenance
from benchmarks.questions import subjects
from benchmarks.samples import Spread
from benchmarks.specialists import Specialist, masks_of
from benchmarks.tables import finish, provenance_line, table
from benchmarks.turns import one_round, seconds_of
from masks import RelationMask
from plm import BaseModel, Engine, load_base

# Questions under the union that is kept, before each round.
_WARMING = 4


@dataclass(frozen=True)
class Case:
    """Unions of so many relations.

    Attributes:
        relations: of a union.
        union: making it of the packed bits, ms.
        first: the first answer, the making of the union included, ms.
        second: the next one under the same union, which makes W * M where that is kept, ms.
        warm: the same question under another union, which is kept, ms.
        copy: a copy of the bytes of the union's dense weights, ms.
        extra: (first - warm) / copy, round by round.
        whole: first / copy, round by round.
    """

    relations: int
    union: Spread
    first: Spread
    second: Spread
    warm: Spread
    copy: Spread
    extra: Spread
    whole: Spread


@dataclass(frozen=True)
class Result:
    """All cases, the bytes that are copied, and where they come from."""

    cases: tuple[Case, ...]
    copied_mib: float
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base or folder.")] = "minilm-l6-mlm",
    pack: Annotated[Path | None, typer.Option(help="Mask pack (default: the shipped one).")] = None,
    relations: Annotated[
        list[int] | None, typer.Option(min=2, help="Relations of a union.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    cache_mib: Annotated[int, typer.Option(min=0, help="Memory for masked weights, MiB.")] = 96,
    rounds: Annotated[int, typer.Option(min=1, help="New unions counted of each size.")] = 60,
    warm_up: Annotated[int, typer.Option(min=0, help="New unions before them.")] = 5,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/new_union.json"
    ),
) -> None:
    """Measure new unions, a warm one and a copy in turns; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    model = load_base(base, device="cpu")
    masks = masks_of(pack)
    copy = _Copy(model, masks[0])
    cases = []
    for count in relations or [2, 4, 8]:
        unions = _fresh(masks, count, warm_up + rounds + 1)
        cases.append(_measure(model, unions, copy, cache_mib * MIB, warm_up))
    origin |= {
        "base": f"{model.name} {model.digest}",
        "threads": str(threads),
        "mask cache": f"{cache_mib} MiB",
        "rounds": f"{rounds} new unions of each size, after {warm_up} not counted, in turns with "
        "the others; one sentence a question",
    }
    result = Result(tuple(cases), copy.byte_size / MIB, origin)
    finish(out, "The first answer under a new union", _markdown(result), result)


def _fresh(
    masks: Sequence[RelationMask], relations: int, count: int
) -> list[tuple[RelationMask, ...]]:
    """Different choices of so many relations, none twice.

    Raises:
        typer.BadParameter: there are not as many.
    """
    every = list(combinations(masks, relations))
    if len(every) < count:
        raise typer.BadParameter(
            f"{len(masks)} relations give {len(every)} unions of {relations}, and {count} are "
            "needed; give fewer rounds"
        )
    return Random(relations).sample(every, count)


class _Copy:
    """A copy of the weights that a mask covers, into memory that is warm."""

    def __init__(self, base: BaseModel, mask: RelationMask) -> None:
        self._weights = [base.weight(name) for name in mask.shapes]
        self._places = [torch.empty_like(weight) for weight in self._weights]
        self.byte_size = sum(weight.nbytes for weight in self._weights)

    def __call__(self) -> None:
        for place, weight in zip(self._places, self._weights, strict=True):
            place.copy_(weight)


class _Round:
    """A union that is new to an engine, and another that is warm, asked the same question."""

    def __init__(
        self, engine: Engine, warm: Specialist, parts: Sequence[RelationMask], about: Iterator[str]
    ) -> None:
        self._engine = engine
        self._warm = warm
        self._parts = parts
        self._subject = ""
        # Two uses, and the kept weights are made; then some to warm up what a question needs.
        for _ in range(_WARMING):
            self._subject = next(about)
            self.warm()
        self._subject = next(about)
        self.union_seconds = 0.0

    def warm(self) -> None:
        """Ask under the union that is kept."""
        self._engine.read([self._warm.probe(self._engine.base, self._subject)])

    def new(self) -> None:
        """Make the new union, and ask under it."""
        started = time.perf_counter()
        union = Specialist.of(self._parts)
        self.union_seconds = time.perf_counter() - started
        self._engine.read([union.probe(self._engine.base, self._subject)])


def _measure(
    base: BaseModel,
    unions: Sequence[tuple[RelationMask, ...]],
    copy: _Copy,
    cache_bytes: int,
    warm_up: int,
) -> Case:
    kept, *fresh = unions
    about = subjects()
    taken: list[Mapping[str, float]] = []
    for number, parts in enumerate(fresh):
        # A new engine each time, so that there is room for what is asked twice.
        engine = Engine(base, cache_bytes=cache_bytes)
        asked = _Round(engine, Specialist.of(kept), parts, about)
        seconds = one_round({"warm": asked.warm, "first": asked.new, "copy": copy}, number)
        union = asked.union_seconds
        second = seconds_of(asked.new)
        if number >= warm_up:
            taken.append(seconds | {"union": union, "second": second})
    return _case(len(kept), taken)


def _case(relations: int, taken: Sequence[Mapping[str, float]]) -> Case:
    def milliseconds(name: str) -> Spread:
        return Spread.of([1000 * one[name] for one in taken])

    copies = [one["copy"] for one in taken]
    return Case(
        relations,
        milliseconds("union"),
        milliseconds("first"),
        milliseconds("second"),
        milliseconds("warm"),
        milliseconds("copy"),
        Spread.of_ratios([one["first"] - one["warm"] for one in taken], copies),
        Spread.of_ratios([one["first"] for one in taken], copies),
    )


def _markdown(result: Result) -> list[str]:
    header = (
        "relations",
        "making the union, ms",
        "first answer, ms",
        "second answer, ms",
        "warm answer, ms",
        "copy, ms",
        "(first - warm) / copy",
        "first / copy",
    )
    rows = [
        (
            case.relations,
            *(
                spread.text()
                for spread in (
                    case.union,
                    case.first,
                    case.second,
                    case.warm,
                    case.copy,
                    case.extra,
                    case.whole,
                )
            ),
        )
        for case in result.cases
    ]
    return [
        table(header, rows),
        f"Medians over unions, least and largest in brackets. The copy moves "
        f"{result.copied_mib:.1f} MiB.",
        provenance_line(result.origin),
    ]


if __name__ == "__main__":
    typer.run(main)
