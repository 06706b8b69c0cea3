"""Scores of texts and choices, beside minicons and a slow twin on the Hugging Face model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import plm
from plm.choices import NORMALIZATIONS, SCORINGS

if TYPE_CHECKING:
    from masks import CombinedMask
    from tests.plm.conftest import Tiny

CONTEXT = "the small dog is in the house"
CHOICES = ("it can run", "it wants water.", "made from cotton for the bed, unseen")


def _log_prob(model: Any, ids: list[int], types: list[int] | None, slot: int, token: int) -> float:
    extra = {} if types is None else {"token_type_ids": torch.tensor([types])}
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), **extra).logits[0, slot]
    return float(logits.log_softmax(0)[token])


def _twin(
    tiny: Tiny, mask: CombinedMask | None, texts: tuple[str, ...], part: str, within: bool
) -> tuple[list[float], int]:
    """Log-probabilities of the tokens of `part` (context, choice, all), one forward for each."""
    model = tiny.reference(mask)
    encoding = tiny.base.tokenizer(*texts, return_token_type_ids=True)
    ids = encoding["input_ids"]
    types = encoding["token_type_ids"] if tiny.base.has_segments else None
    wanted = {"context": (0,), "choice": (len(texts) - 1,), "all": (0, 1)}[part]
    sequences, words = encoding.sequence_ids(), encoding.word_ids()
    found = []
    for place, owner in enumerate(sequences):
        if owner not in wanted:
            continue
        masked = list(ids)
        for other in range(place, len(ids)):
            same = (sequences[other], words[other]) == (owner, words[place])
            if other == place or (within and same):
                masked[other] = tiny.base.mask_token_id
        found.append(_log_prob(model, masked, types, place, ids[place]))
    characters = sum(len(text) for i, text in enumerate(texts) if i in wanted)
    return found, characters


def _expected(tiny: Tiny, mask: CombinedMask | None, scoring: str, normalize: str) -> list[float]:
    part = {"context": "context", "answer": "choice"}.get(scoring, "all")
    within = scoring != "pll"
    scores = []
    for choice in CHOICES:
        found, characters = _twin(tiny, mask, (CONTEXT, choice), part, within)
        total = sum(found)
        if normalize == "token":
            total /= len(found)
        elif normalize == "char":
            total /= characters
        elif normalize == "pmi":
            if part in ("context", "all"):
                total -= sum(_twin(tiny, mask, (CONTEXT,), "all", within)[0])
            if part in ("choice", "all"):
                total -= sum(_twin(tiny, mask, (choice,), "all", within)[0])
        scores.append(total)
    return scores


@pytest.mark.parametrize("normalize", NORMALIZATIONS)
@pytest.mark.parametrize("scoring", SCORINGS)
def test_scores_are_those_of_one_forward_for_each_token(
    tiny: Tiny, scoring: plm.choices.Scoring, normalize: plm.choices.Normalize
) -> None:
    engine = plm.Engine(tiny.base)
    for mask in (None, tiny.combined(3)):
        found = plm.score_choices(
            engine, CONTEXT, CHOICES, mask, scoring=scoring, normalize=normalize, token_budget=50
        )
        expected = _expected(tiny, mask, scoring, normalize)
        assert [one.score for one in found] == pytest.approx(expected, abs=1e-4)


class Minicons:
    """The peer. It is given encodings: the way it makes them is gone since transformers 5."""

    def __init__(self, tiny: Tiny) -> None:
        self._tokenizer = tiny.base.tokenizer
        minicons = pytest.importorskip("minicons.scorer")
        self._scorer = minicons.MaskedLMScorer(tiny.reference(), "cpu", tokenizer=self._tokenizer)

    def log_probs(self, *texts: str, metric: str) -> list[float]:
        encoding = self._tokenizer(*([text] for text in texts))
        scored = self._scorer.prepare_text(encoding, metric)
        return self._scorer.compute_stats(scored, return_tensors=True)[0].tolist()


@pytest.mark.parametrize(
    ("scoring", "metric"), [("pll", "original"), ("pll_l2r", "within_word_l2r")]
)
def test_texts_score_as_in_minicons(tiny: Tiny, scoring: plm.choices.Scoring, metric: str) -> None:
    peer = Minicons(tiny)
    found = plm.score_choices(plm.Engine(tiny.base), None, CHOICES, scoring=scoring)
    for choice, one in zip(CHOICES, found, strict=True):
        theirs = peer.log_probs(choice, metric=metric)
        assert [token.log_prob for token in one.tokens] == pytest.approx(theirs, abs=1e-4)
        assert one.score == pytest.approx(sum(theirs), abs=1e-4)


# Without BERT: minicons leaves token types out, so that a pair is one segment to it.
@pytest.mark.parametrize("model_type", ["distilbert", "roberta", "mpnet"])
def test_pairs_score_as_in_minicons(tiny_of: Callable[[str], Tiny], model_type: str) -> None:
    tiny = tiny_of(model_type)
    peer = Minicons(tiny)
    found = plm.score_choices(plm.Engine(tiny.base), CONTEXT, CHOICES, scoring="pll")
    for choice, one in zip(CHOICES, found, strict=True):
        theirs = peer.log_probs(CONTEXT, choice, metric="original")
        assert [token.log_prob for token in one.tokens] == pytest.approx(theirs, abs=1e-4)


def test_the_best_choice_is_scored_by_its_context_unless_told_otherwise(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    default = plm.score_choices(engine, CONTEXT, CHOICES)
    assert default == plm.score_choices(engine, CONTEXT, CHOICES, scoring="context")
    assert {token.part for one in default for token in one.tokens} == {"context"}
    alone = plm.score_choices(engine, None, CHOICES)
    assert alone == plm.score_choices(engine, None, CHOICES, scoring="pll_l2r")
    assert {token.part for one in alone for token in one.tokens} == {"choice"}


def test_a_row_is_asked_once_for_all_tokens_wanted_there(bert: Tiny) -> None:
    words = ("dog", "cat", "linen")
    plan = plm.plan_choices(bert.base, "this is a", words, scoring="answer")
    assert len(plan.probes) == 1
    assert plan.probes[0].wanted.tokens.shape == (1, 3)
    engine = plm.Engine(bert.base)
    together = plan.scores(engine.read(plan.probes))
    for word, one in zip(words, together, strict=True):
        other = "bird" if word != "bird" else "dog"
        (alone, _) = plm.score_choices(engine, "this is a", [word, other], scoring="answer")
        assert one.score == pytest.approx(alone.score, abs=1e-5)


def test_passes_are_bounded() -> None:
    probes = [
        plm.Probe(plm.EncodedRow((5,) * n, (1,)), None, plm.TopTokens()) for n in (4, 4, 9, 2, 7)
    ]
    passes: list[list[int]] = []

    def read(asked: Any) -> list[plm.Reading]:
        passes.append([len(probe.row.input_ids) for probe in asked])
        return [plm.Reading(np.zeros(1, np.float32), None) for _ in asked]

    assert len(plm.read_in_passes(read, probes, 8)) == 5
    assert passes == [[4, 4], [9], [2], [7]]


@pytest.mark.parametrize(
    ("context", "choices", "options", "field", "message"),
    [
        ("a", ["dog"], {}, "choices", "two or more, not 1"),
        ("a", ["dog", " dog "], {}, "choices/1", "the same as choice 0"),
        ("a", ["dog", " "], {}, "choices/1", "blank"),
        ("", ["dog", "cat"], {}, "context", "blank"),
        ("a", ["dog", "a\x00b"], {}, "choices/1", r"U\+0000"),
        ("a \ud800", ["dog", "cat"], {}, "context", "surrogate"),
        ("a", ["dog", "{mask}"], {}, "choices/1", "special token"),
        ("a", ["dog", "the " * 200], {}, "choices/1", "tokens long with its context"),
        (None, ["dog", "cat"], {"scoring": "context"}, "scoring", "there is none"),
        (None, ["dog", "cat"], {"normalize": "pmi"}, "normalize", "give one"),
    ],
)
def test_bad_questions_name_the_field(
    bert: Tiny,
    *,
    context: str | None,
    choices: list[str],
    options: dict[str, Any],
    field: str,
    message: str,
) -> None:
    choices = [choice.replace("{mask}", bert.base.mask_token) for choice in choices]
    with pytest.raises(plm.PromptError, match=message) as caught:
        plm.plan_choices(bert.base, context, choices, **options)
    assert caught.value.field == field
