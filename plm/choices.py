"""Zero-shot multiple choice: each choice scored with its context, the most plausible is the best.

Scorings, of the layout `[CLS] context [SEP] choice [SEP]`:

- `pll`: every token of context and choice, each masked alone (Salazar et al. 2020).
- `pll_l2r`: the same, later tokens of a word masked too (Kauf & Ivanova 2023).
- `context`: the context's tokens given the choice, which is never masked (Tamborrino et al. 2020,
  arXiv:2004.14074). Every choice is judged by the same tokens, so that its own length and frequency
  have no say.
- `answer`: the choice's tokens given the context.

The last two mask within words as `pll_l2r` does: words are what they score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from masks import PackedMask
from plm.base import BaseModel
from plm.engine import Engine
from plm.errors import PromptError, RowLimitError
from plm.pair import EncodedText, check_text, encode_texts
from plm.plausibility import Scored, ScoringPlan, plan_scores
from plm.probe import Probe, Reading

Scoring = Literal["pll", "pll_l2r", "context", "answer"]
Normalize = Literal["none", "token", "char", "pmi"]
SCORINGS: tuple[Scoring, ...] = get_args(Scoring)
NORMALIZATIONS: tuple[Normalize, ...] = get_args(Normalize)


@dataclass(frozen=True)
class ScoredToken:
    """A token's part in a choice's score: natural log-probability, before normalisation."""

    token: str
    token_id: int
    log_prob: float
    part: Literal["context", "choice"]


@dataclass(frozen=True)
class ChoiceScore:
    """A choice's score and the tokens that it is made of."""

    score: float
    tokens: tuple[ScoredToken, ...]


@dataclass(frozen=True, eq=False)
class ScoreTerms:
    """A choice's score as a weighted sum of log-probabilities, N of them.

    Attributes:
        places: (N, 2), the probe and the column of its reading.
        weights: (N,) what each counts.
    """

    places: NDArray[np.int64]
    weights: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ChoicePlan:
    """A question ready for the model; made by `plan_choices`.

    Attributes:
        base: the base.
        scoring: how choices are scored.
        normalize: how scores are made comparable.
        choices: each choice with its context; positions are those scored.
        alone: for `pmi`, of each choice the texts whose scores are taken off.
        plan: the probes for all of them.
    """

    base: BaseModel
    scoring: Scoring
    normalize: Normalize
    choices: tuple[Scored, ...]
    alone: tuple[tuple[Scored, ...], ...]
    plan: ScoringPlan

    @property
    def probes(self) -> Sequence[Probe]:
        """What the model is asked."""
        return self.plan.probes

    def scores(self, readings: Sequence[Reading]) -> list[ChoiceScore]:
        """The choices' scores, in their order, of one reading for each probe."""
        values = iter(self.plan.log_probs(readings))
        own = [next(values) for _ in self.choices]
        scores = []
        for scored, log_probs, alone in zip(self.choices, own, self.alone, strict=True):
            off = sum(float(next(values).sum(dtype=np.float64)) for _ in alone)
            total = float(log_probs.sum(dtype=np.float64)) - off
            scores.append(
                ChoiceScore(total / self._length(scored), self._tokens(scored, log_probs))
            )
        return scores

    def terms(self) -> list[ScoreTerms]:
        """The choices' scores, in their order, as sums that many mask sets can share."""
        places = iter(self.plan.places)
        own = [next(places) for _ in self.choices]
        terms = []
        for scored, added, alone in zip(self.choices, own, self.alone, strict=True):
            taken_off = [next(places) for _ in alone]
            weights = [np.ones(len(added)), *(-np.ones(len(part)) for part in taken_off)]
            terms.append(
                ScoreTerms(
                    np.concatenate([added, *taken_off]),
                    np.concatenate(weights) / self._length(scored),
                )
            )
        return terms

    def _length(self, scored: Scored) -> int:
        if self.normalize == "token":
            return len(scored.positions)
        if self.normalize == "char":
            return sum(
                len(text)
                for text, part in zip(scored.text.texts, scored.text.parts, strict=True)
                if part[0] in scored.positions
            )
        return 1

    def _tokens(self, scored: Scored, log_probs: NDArray[np.float32]) -> tuple[ScoredToken, ...]:
        text, ids = scored.text, scored.text.input_ids
        names = self.base.tokenizer.tokens_of([ids[place] for place in scored.positions])
        choice = set(text.parts[-1])
        return tuple(
            ScoredToken(name, ids[place], value, "choice" if place in choice else "context")
            for name, place, value in zip(names, scored.positions, log_probs.tolist(), strict=True)
        )


def plan_choices(
    base: BaseModel,
    context: str | None,
    choices: Sequence[str],
    mask: PackedMask | None = None,
    *,
    scoring: Scoring | None = None,
    normalize: Normalize = "none",
    most_rows: int | None = None,
) -> ChoicePlan:
    """Check and tokenise a question and plan what the model is asked.

    Args:
        base: the base.
        context: None scores the choices as texts of their own.
        choices: two or more, all different.
        mask: mask set; None asks the unmasked model.
        scoring: None takes `context` where there is a context, else `pll_l2r`.
        normalize: `none` takes the sum over the scored tokens; `token` and `char` divide it by
            their number, or by the characters of the texts they belong to; `pmi` takes off the
            score of the scored texts alone, each without the other (pointwise mutual information).
        most_rows: rows that the model may be asked for; None sets no limit.

    Raises:
        PromptError: a text cannot be scored, fewer than two choices, two that are the same to the
            model, or a scoring or normalisation that needs a context; its field is `context`,
            `choices`, `choices/<index>`, `scoring` or `normalize`.
        RowLimitError: more than `most_rows` tokens are scored. Nothing was made for them yet.
    """
    scoring = scoring or ("pll_l2r" if context is None else "context")
    if context is None and scoring == "context":
        raise PromptError("scoring", "'context' scores the context, and there is none")
    if context is None and normalize == "pmi":
        raise PromptError("normalize", "'pmi' compares with and without the context; give one")
    if context is not None:
        context = check_text(base, context, "context")
    checked = _check_choices(base, choices)
    texts = [
        encode_texts(
            base, *(text for text in (context, choice) if text is not None), field=f"choices/{i}"
        )
        for i, choice in enumerate(checked)
    ]
    _check_different(texts)
    within = scoring != "pll"
    scored = tuple(Scored(text, _positions(text, scoring), within) for text in texts)
    alone: tuple[tuple[Scored, ...], ...] = tuple(() for _ in scored)
    if normalize == "pmi" and context is not None:
        alone = _alone(base, context, checked, scoring)
    every = [*scored, *(one for several in alone for one in several)]
    # The context alone is the same for every choice.
    rows = sum(len(one.positions) for one in set(every))
    if most_rows is not None and rows > most_rows:
        raise RowLimitError(rows, most_rows)
    return ChoicePlan(base, scoring, normalize, scored, alone, plan_scores(base, every, mask))


def score_choices(
    engine: Engine,
    context: str | None,
    choices: Sequence[str],
    mask: PackedMask | None = None,
    *,
    scoring: Scoring | None = None,
    normalize: Normalize = "none",
    token_budget: int = 4096,
) -> list[ChoiceScore]:
    """Score the choices of one question, in passes of at most so many tokens.

    Raises:
        PromptError: as `plan_choices` does.
        MaskMismatchError: the mask does not fit the base.
    """
    plan = plan_choices(engine.base, context, choices, mask, scoring=scoring, normalize=normalize)
    return plan.scores(read_in_passes(engine.read, plan.probes, token_budget))


def read_in_passes(
    read: Callable[[Sequence[Probe]], list[Reading]], probes: Sequence[Probe], token_budget: int
) -> list[Reading]:
    """Readings of any number of probes, asked for in passes of at most so many tokens."""
    readings: list[Reading] = []
    waiting: list[Probe] = []
    tokens = 0
    for probe in probes:
        length = len(probe.row.input_ids)
        if waiting and tokens + length > token_budget:
            readings += read(waiting)
            waiting, tokens = [], 0
        waiting.append(probe)
        tokens += length
    return readings + read(waiting)


def _check_choices(base: BaseModel, choices: Sequence[str]) -> list[str]:
    if len(choices) < 2:
        raise PromptError("choices", f"there must be two or more, not {len(choices)}")
    checked: list[str] = []
    for index, choice in enumerate(choices):
        text = check_text(base, choice, f"choices/{index}")
        if text in checked:
            raise PromptError(
                f"choices/{index}",
                f"it is the same as choice {checked.index(text)}; name each choice once",
            )
        checked.append(text)
    return checked


def _check_different(texts: Sequence[EncodedText]) -> None:
    """Refuse choices that differ to a reader alone: one of them would be the best by its place."""
    first: dict[tuple[int, ...], int] = {}
    for index, text in enumerate(texts):
        if (same := first.setdefault(text.input_ids, index)) != index:
            raise PromptError(
                f"choices/{index}",
                f"it becomes the same tokens as choice {same}, so that the model cannot tell them "
                f"apart; leave one of them out",
            )


def _positions(text: EncodedText, scoring: Scoring) -> tuple[int, ...]:
    if scoring == "context":
        return text.parts[0]
    if scoring == "answer":
        return text.parts[-1]
    return tuple(place for part in text.parts for place in part)


def _alone(
    base: BaseModel, context: str, choices: Sequence[str], scoring: Scoring
) -> tuple[tuple[Scored, ...], ...]:
    """For each choice what `pmi` takes off: the scored texts, each on its own."""
    within = scoring != "pll"

    def single(text: str, field: str) -> Scored:
        encoded = encode_texts(base, text, field=field)
        return Scored(encoded, encoded.parts[0], within)

    of_context = () if scoring == "answer" else (single(context, "context"),)
    if scoring == "context":
        return tuple(of_context for _ in choices)
    return tuple(
        (*of_context, single(choice, f"choices/{index}")) for index, choice in enumerate(choices)
    )
