"""The engine of `/score_choices` beside minicons on the same questions.

Two scorings: `pll`, every token of context and choice masked alone, and `answer`, the choice's
tokens given the context; each with choices of one word and with choices of several. minicons leaves
token types out, so the engine is given one segment too, and the scores must agree. Claim: at least
5 times the questions a second where choices share rows (`answer`, words). Elsewhere both sides run
the layers over the same rows, and the gain is what the head, the last layer, padding and the logits
of all tokens cost.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, get_args

import torch
import typer

from benchmarks.peer import published_model, published_tokenizer
from benchmarks.provenance import provenance
from benchmarks.questions import QUALITIES, THINGS
from benchmarks.samples import Spread
from benchmarks.tables import finish, provenance_line, table
from plm import BaseModel, Engine, Scored, encode_texts, load_base, plan_scores, read_in_passes

_SAME = 1e-3
_PLACES = "in the house, under the old bridge, at the market, near the lake, on the long road"
_PHRASES = (
    "{quality}",
    "{quality} and {other}",
    "left there by somebody",
    "too {quality} for the {thing}",
    "next to a {quality} {thing}",
    "not as {quality} as they had hoped for",
    "bought for the {other} {thing} that winter",
)
Kind = Literal["words", "phrases"]


@dataclass(frozen=True)
class Question:
    """A context and its choices, each a word or a phrase."""

    context: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """One scoring of one kind of choices.

    Attributes:
        scoring: `pll` or `answer`.
        kind: of the choices.
        ours: questions a second of the engine.
        peer: of minicons, one question a call, its choices in one batch.
        ratio: of the two, round by round.
        difference: largest of two scores of the same choice.
        rows: masked rows of a question that the model is asked, the mean: ours.
        peer_rows: likewise of minicons, which asks a row for each token.
    """

    scoring: str
    kind: Kind
    ours: Spread
    peer: Spread
    ratio: Spread
    difference: float
    rows: float
    peer_rows: float


@dataclass(frozen=True)
class Result:
    """Both scorings of both kinds of choices, and where the figures come from."""

    cases: Sequence[Case]
    origin: dict[str, str]


def main(
    *,
    base: Annotated[str, typer.Option(help="Embedded base.")] = "minilm-l6-mlm",
    questions: Annotated[int, typer.Option(min=1, help="Questions of a round.")] = 8,
    choices: Annotated[int, typer.Option(min=2, help="Choices of a question.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds counted.")] = 15,
    warm_up: Annotated[int, typer.Option(min=0, help="Rounds before them.")] = 2,
    token_budget: Annotated[int, typer.Option(min=1, help="Tokens of our passes.")] = 4096,
    out: Annotated[Path, typer.Option(help="JSON file of the result.")] = Path(
        "runs/benchmarks/score_choices.json"
    ),
) -> None:
    """Measure both in turns; write JSON and print Markdown."""
    torch.set_num_threads(threads)
    origin = provenance()
    engine = Engine(load_base(base, device="cpu"))
    peer = _minicons(base)
    cases = []
    for scoring, kind in product(("pll", "answer"), get_args(Kind)):
        random = Random(0)
        ours, theirs, differences, rows, peer_rows = [], [], [], 0, 0
        for number in range(warm_up + rounds):
            asked = [_question(random, kind, choices) for _ in range(questions)]
            started = time.perf_counter()
            scores, probes = _ours(engine, asked, scoring, token_budget)
            middle = time.perf_counter()
            expected = [_peers(peer, engine.base, question, scoring) for question in asked]
            ended = time.perf_counter()
            if number >= warm_up:
                ours.append(questions / (middle - started))
                theirs.append(questions / (ended - middle))
            rows += probes
            peer_rows += sum(count for _, count in expected)
            differences += [
                abs(one - other)
                for mine, (others, _) in zip(scores, expected, strict=True)
                for one, other in zip(mine, others, strict=True)
            ]
        if max(differences) > _SAME:
            raise RuntimeError(f"the sides disagree by {max(differences)}")
        every = questions * (rounds + warm_up)
        cases.append(
            Case(
                scoring,
                kind,
                Spread.of(ours),
                Spread.of(theirs),
                Spread.of_ratios(ours, theirs),
                max(differences),
                rows / every,
                peer_rows / every,
            )
        )
    origin |= {
        "base": base,
        "threads": str(threads),
        "questions": f"{questions} of {choices} choices in a round; {rounds} rounds, after "
        f"{warm_up} not counted",
        "minicons": f"{version('minicons')}, a call for each question, its choices in one batch",
    }
    result = Result(cases, origin)
    finish(out, "Scoring choices beside minicons", _markdown(result), result)


def _minicons(base: str) -> Any:
    from minicons.scorer import MaskedLMScorer  # noqa: PLC0415 - takes seconds to import

    tokenizer = published_tokenizer(base)
    return MaskedLMScorer(published_model(base), "cpu", tokenizer=tokenizer)


def _ours(
    engine: Engine, asked: Sequence[Question], scoring: str, token_budget: int
) -> tuple[list[list[float]], int]:
    """The scores of each question's choices, and how many rows they took."""
    texts = [
        _one_segment(engine.base, question.context, choice, scoring)
        for question in asked
        for choice in question.choices
    ]
    plan = plan_scores(engine.base, texts)
    found = plan.log_probs(read_in_passes(engine.read, plan.probes, token_budget))
    sums = iter([float(one.sum()) for one in found])
    return [[next(sums) for _ in question.choices] for question in asked], len(plan.probes)


def _one_segment(base: BaseModel, context: str, choice: str, scoring: str) -> Scored:
    text = encode_texts(base, f"{context} {choice}", field="choices")
    start = 0 if scoring == "pll" else _tokens(base, context)
    return Scored(text, text.parts[0][start:], within_word=False)


def _peers(peer: Any, base: BaseModel, question: Question, scoring: str) -> tuple[list[float], int]:
    """The scores of the choices, and how many rows they took."""
    texts = [f"{question.context} {choice}" for choice in question.choices]
    # Encoded here, because minicons' own way is gone since transformers 5.
    encoding = peer.tokenizer(texts, padding="longest")
    # [CLS] stands before the context.
    start = 1 + _tokens(base, question.context)
    starts = None if scoring == "pll" else [start] * len(texts)
    prepared = list(peer.get_masked_tensors(encoding, "original", targets_start=starts))
    rows = sum(len(one[0]) for one in prepared)
    scores = peer.compute_stats(prepared, return_tensors=True)
    return [float(one.sum()) for one in scores], rows


def _tokens(base: BaseModel, text: str) -> int:
    return len(base.tokenizer.backend.encode(text, add_special_tokens=False).ids)


def _question(random: Random, kind: Kind, choices: int) -> Question:
    thing, other = random.sample(THINGS, 2)
    place = random.choice(_PLACES.split(", "))
    context = f"The {random.choice(QUALITIES)} {thing} was {place} because the {other} was"
    ends = random.sample(QUALITIES, choices)
    if kind == "phrases":
        ends = [
            random.choice(_PHRASES).format(
                quality=end, other=random.choice(QUALITIES), thing=random.choice(THINGS)
            )
            for end in ends
        ]
    return Question(context, tuple(ends))


def _markdown(result: Result) -> list[str]:
    lines = [
        (
            f"`{case.scoring}`",
            case.kind,
            case.ours.text(1),
            case.peer.text(1),
            case.ratio.text(1),
            f"{case.rows:.0f}",
            f"{case.peer_rows:.0f}",
            f"{case.difference:.0e}",
        )
        for case in result.cases
    ]
    header = (
        "scoring",
        "choices",
        "ours, questions/s",
        "minicons",
        "ours, times it",
        "rows a question, ours",
        "minicons",
        "largest difference",
    )
    return [table(header, lines), provenance_line(result.origin)]


if __name__ == "__main__":
    typer.run(main)
