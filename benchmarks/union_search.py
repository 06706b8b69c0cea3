"""The search over unions of relations beside the paper's way: weights rewritten for each union.

The peer puts W * M into the published model for each union and scores all choices in padded
batches: all layers and the head over all tokens. Both score the same masked rows, and must give the
same scores and choose alike. Claim: at least 5 times the unions a second.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.peer import published_model, published_tokenizer
from benchmarks.provenance import provenance
from benchmarks.questions import QUALITIES, THINGS
from benchmarks.samples import Spread
from benchmarks.specialists import masks_of
from benchmarks.tables import finish, provenance_line, table
from masks import CombinedMask, RelationMask, combine_masks, weights_of
from plm import BaseModel, ChoicePlan, load_base, plan_choices
from plm.choices import Scoring
from training.unions import Union, UnionScorer

_SAME = 1e-3
# Scores nearer to each other than this may change places by rounding.
_TIE = 2 * _SAME
_CONTEXTS = (
    "The {quality} {thing} was left at the market because",
    "Somebody bought a {quality} {thing} that winter, so",
    "You would use a {quality} {thing} for",
)
_CHOICES = (
    "the {thing} was {quality}.",
    "it was not as {quality} as a {thing}.",
    "there was a {thing} next to the {quality} one.",
    "nobody had seen a {quality} {thing} there.",
)


@dataclass(frozen=True)
class Case:
    """One scoring.

    Attributes:
        scoring: `answer` or `pll`.
        rows: masked rows of all questions.
        tokens: of these rows, without padding.
        ours: seconds a union.
        peer: likewise.
        ratio: the peer's over ours, union by union.
        once: seconds that ours takes before the first union.
        difference: largest of two scores of the same choice.
        agreed: share of the questions whose choice is the same on both sides, near ties apart.
    """

    scoring: str
    rows: int
    tokens: int
    ours: Spread
    peer: Spread
    ratio: Spread
    once: float
    difference: float
    agreed: float


@dataclass(frozen=True)
class Result:
    """All scorings, and where the figures come from."""

    cases: Sequence[Case]
    origin: dict[str, str]


class Peer:
    """The published model, its weights rewritten for each union."""

    def __init__(self, base: str, batch: int) -> None:
        """Load the model; `batch` is how many rows it is given at a time."""
        self._model = published_model(base)
        self._pad = published_tokenizer(base).pad_token_id
        self._batch = batch
        self._weights = {name: value.clone() for name, value in self._model.state_dict().items()}

    def scores(self, plans: Sequence[ChoicePlan], mask: CombinedMask) -> list[list[float]]:
        """The scores of each question's choices under a mask."""
        parameters = dict(self._model.named_parameters())
        for name in mask.shapes:
            keep = torch.from_numpy(weights_of(mask, name))
            torch.mul(self._weights[name], keep, out=parameters[name].data)
        asked = [(plan, probe) for plan in plans for probe in plan.probes]
        found: list[NDArray[np.float32]] = []
        for start in range(0, len(asked), self._batch):
            found += self._read(asked[start : start + self._batch])
        readings = iter(found)
        return [_scores(plan, [next(readings) for _ in plan.probes]) for plan in plans]

    def _read(self, asked: Sequence[tuple[ChoicePlan, Any]]) -> list[NDArray[np.float32]]:
        """Log-probabilities (K,) of each row's wanted tokens."""
        rows = [probe.row for _, probe in asked]
        longest = max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), longest), self._pad)
        types = torch.zeros_like(ids)
        attended = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            length = len(row.input_ids)
            ids[number, :length] = torch.tensor(row.input_ids)
            attended[number, :length] = 1
            if row.second_segment is not None:
                types[number, row.second_segment : length] = 1
        with torch.inference_mode():
            logits = self._model(
                input_ids=ids, attention_mask=attended, token_type_ids=types
            ).logits
            slots = torch.tensor([row.slots[0] for row in rows])
            log_probs = logits[torch.arange(len(rows)), slots].log_softmax(dim=1)
        return [
            values[probe.wanted.tokens[0]]
            for values, (_, probe) in zip(log_probs.numpy(), asked, strict=True)
        ]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base.")] = "minilm-l6-mlm",
    questions: Annotated[int, typer.Option(min=1, help="Questions of the search.")] = 60,
    choices: Annotated[int, typer.Option(min=2, help="Choices of a question.")] = 2,
    size: Annotated[int, typer.Option(min=1, help="Relations of a union.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Unions counted.")] = 7,
    warm_up: Annotated[int, typer.Option(min=0, help="Unions before them.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Rows of a batch of the peer.")] = 64,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/union_search.json"
    ),
) -> None:
    """Measure both in turns, union by union; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    masks = {mask.relation: mask for mask in masks_of()}
    model = load_base(base, device="cpu")
    peer = Peer(base, batch)
    asked = list(_questions(Random(0), questions, choices))
    unions = list(combinations(masks, size))
    Random(0).shuffle(unions)
    chosen = unions[: warm_up + rounds]
    if len(chosen) < warm_up + rounds:
        raise typer.BadParameter(f"there are {len(unions)} unions of {size} relations alone")
    scorings: tuple[Scoring, ...] = ("answer", "pll")
    cases = [
        _measure(model, peer, masks, asked, chosen, scoring=scoring, warm_up=warm_up)
        for scoring in scorings
    ]
    origin |= {
        "base": base,
        "threads": str(threads),
        "questions": f"{questions} of {choices} choices",
        "unions": f"{rounds} of {size} of {len(masks)} relations, after {warm_up} not counted",
        "peer": f"the published model, W * M written into it for each union, batches of {batch}",
    }
    result = Result(cases, origin)
    finish(out, "A search over unions beside rewritten weights", _markdown(result), result)


def _measure(
    base: BaseModel,
    peer: Peer,
    masks: Mapping[str, RelationMask],
    asked: Sequence[tuple[str, Sequence[str]]],
    unions: Sequence[Union],
    *,
    scoring: Scoring,
    warm_up: int,
) -> Case:
    plans = [plan_choices(base, text, choices, scoring=scoring) for text, choices in asked]
    started = time.perf_counter()
    scorer = UnionScorer(base, masks, plans)
    once = time.perf_counter() - started
    ours, theirs, differences, agreed = [], [], [], []
    for number, union in enumerate(unions):
        mask = combine_masks([masks[name] for name in union])
        times = {}
        # In turns, each first every second time.
        for side in ("ours", "peer") if number % 2 else ("peer", "ours"):
            started = time.perf_counter()
            if side == "ours":
                mine = [scores.tolist() for scores in scorer.scores(union)]
            else:
                others = peer.scores(plans, mask)
            times[side] = time.perf_counter() - started
        if number >= warm_up:
            ours.append(times["ours"])
            theirs.append(times["peer"])
        differences += [
            abs(one - other)
            for scores, expected in zip(mine, others, strict=True)
            for one, other in zip(scores, expected, strict=True)
        ]
        agreed += [_alike(scores, expected) for scores, expected in zip(mine, others, strict=True)]
    if max(differences) > _SAME or not all(agreed):
        raise RuntimeError(f"the sides disagree: scores differ by {max(differences)}")
    return Case(
        scoring,
        scorer.row_count,
        scorer.tokens,
        Spread.of(ours),
        Spread.of(theirs),
        Spread.of_ratios(theirs, ours),
        once,
        max(differences),
        sum(agreed) / len(agreed),
    )


def _alike(scores: Sequence[float], expected: Sequence[float]) -> bool:
    best = int(np.argmax(scores))
    return best == int(np.argmax(expected)) or max(expected) - expected[best] < _TIE


def _scores(plan: ChoicePlan, found: Sequence[NDArray[np.float32]]) -> list[float]:
    return [
        sum(
            weight * float(found[probe][column])
            for (probe, column), weight in zip(
                terms.places.tolist(), terms.weights.tolist(), strict=True
            )
        )
        for terms in plan.terms()
    ]


def _questions(random: Random, count: int, choices: int) -> Iterator[tuple[str, list[str]]]:
    for _ in range(count):
        words = {"quality": random.choice(QUALITIES), "thing": random.choice(THINGS)}
        context = random.choice(_CONTEXTS).format(**words)
        found: dict[str, None] = {}
        while len(found) < choices:
            text = random.choice(_CHOICES)
            ends = text.format(quality=random.choice(QUALITIES), thing=random.choice(THINGS))
            found[ends] = None
        yield context, list(found)


def _markdown(result: Result) -> list[str]:
    lines = [
        (
            f"`{case.scoring}`",
            f"{case.rows:,}",
            f"{case.tokens:,}",
            case.ours.text(),
            case.peer.text(),
            case.ratio.text(1),
            f"{case.once:.2f}",
            f"{100 * case.agreed:.0f} %",
            f"{case.difference:.0e}",
        )
        for case in result.cases
    ]
    header = (
        "scoring",
        "rows",
        "tokens",
        "ours, s a union",
        "weights rewritten, s a union",
        "ours is faster",
        "ours once, s",
        "same choice",
        "largest difference",
    )
    return [table(header, lines), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
