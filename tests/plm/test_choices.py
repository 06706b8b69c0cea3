"""Scores of texts and choices, beside minicons and a slow twin on the Hugging Face model."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from minicons.scorer import MaskedLMScorer
from transformers import AutoTokenizer

import plm
from plm.choices import NORMALIZATIONS, SCORINGS
from plm.loading import BASES
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from masks import CombinedMask
    from tests.plm.conftest import Tiny

# Words of several pieces to every tokenizer of the tests, and one of none to some.
CONTEXT = "the wooden dogs were sleeping in the house"
CHOICES = ("it runs", "a bed of papers!", "made from woodens and linens for the bed, unseen")
# What stands between two texts, as a user of minicons writes it.
SEPARATORS = {
    "bert": " [SEP] ",
    "distilbert": " [SEP] ",
    "roberta": "</s></s>",
    "mpnet": "</s></s>",
}


class Twin:
    """The Hugging Face model, asked for one token a forward."""

    def __init__(self, tiny: Tiny, mask: CombinedMask | None) -> None:
        self._tiny = tiny
        self._model: Any = tiny.reference(mask)
        self._found: dict[object, tuple[float, int, int]] = {}

    def score(self, scoring: str, normalize: str, choice: str) -> float:
        part = {"context": (0,), "answer": (1,)}.get(scoring, (0, 1))
        within = scoring != "pll"
        total, tokens, characters = self._sum((CONTEXT, choice), part, within)
        if normalize == "pmi":
            texts = [(CONTEXT, choice)[number] for number in part]
            return total - sum(self._sum((text,), (0,), within)[0] for text in texts)
        return total / {"none": 1, "token": tokens, "char": characters}[normalize]

    def _sum(
        self, texts: tuple[str, ...], part: tuple[int, ...], within: bool
    ) -> tuple[float, int, int]:
        """Of the texts numbered in `part`: summed log-probabilities, tokens and characters."""
        key = (texts, part, within)
        if key not in self._found:
            found = self._log_probs(texts, part, within)
            self._found[key] = (sum(found), len(found), sum(len(texts[i]) for i in part))
        return self._found[key]

    def _log_probs(
        self, texts: tuple[str, ...], part: tuple[int, ...], within: bool
    ) -> list[float]:
        base = self._tiny.base
        encoding = tokenizer_of(base)(*texts, return_token_type_ids=base.has_segments)
        sequences, words = encoding.sequence_ids(), encoding.word_ids()
        found = []
        for place, owner in enumerate(sequences):
            if owner not in part:
                continue
            inputs = {name: torch.tensor([values]) for name, values in encoding.items()}
            token = int(inputs["input_ids"][0, place])
            for other in range(place, len(sequences)):
                same = (sequences[other], words[other]) == (owner, words[place])
                if other == place or (within and same):
                    inputs["input_ids"][0, other] = base.mask_token_id
            with torch.no_grad():
                logits = self._model(**inputs).logits[0, place]
            found.append(float(logits.log_softmax(0)[token]))
        return found


def test_scores_are_those_of_one_forward_for_each_token(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    for mask in (None, tiny.combined(3)):
        twin = Twin(tiny, mask)
        for scoring, normalize in product(SCORINGS, NORMALIZATIONS):
            found = plm.score_choices(
                engine,
                CONTEXT,
                CHOICES,
                mask,
                scoring=scoring,
                normalize=normalize,
                token_budget=50,
            )
            expected = [twin.score(scoring, normalize, choice) for choice in CHOICES]
            assert [one.score for one in found] == pytest.approx(expected, abs=1e-4)


def test_a_context_and_a_choice_are_laid_out_as_the_tokenizer_lays_out_pairs(tiny: Tiny) -> None:
    tokenizer = tokenizer_of(tiny.base)
    (text,) = {scored.text for scored in plm.plan_choices(tiny.base, CONTEXT, CHOICES).choices[:1]}
    assert list(text.input_ids) == tokenizer(CONTEXT, CHOICES[0])["input_ids"]
    (context, choice) = text.parts
    between = text.input_ids[context[-1] + 1 : choice[0]]
    assert set(between) == {tokenizer.sep_token_id}
    assert len(between) == len(tokenizer.tokenize(SEPARATORS[tiny.base.architecture.model_type]))
    assert text.second_segment == (choice[0] if tiny.base.has_segments else None)
    # The words of the two texts are told apart.
    assert {text.words[place] for place in context}.isdisjoint(
        text.words[place] for place in choice
    )


class Segmented(torch.nn.Module):
    """A model that is given the token types that minicons leaves out."""

    def __init__(self, model: torch.nn.Module, separator: int) -> None:
        super().__init__()
        self.model = model
        self._separator = separator

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        ends = (input_ids == self._separator).long()
        types = ((ends.cumsum(1) - ends) > 0).long()
        return self.model(input_ids, attention_mask=attention_mask, token_type_ids=types)


class Minicons:
    """The peer: the same weights, its own tokenizer."""

    def __init__(self, tiny: Tiny) -> None:
        tokenizer = AutoTokenizer.from_pretrained(tiny.folder)
        # What minicons calls, and transformers 5 no longer has by this name.
        tokenizer.batch_encode_plus = tokenizer.__call__
        model: torch.nn.Module = tiny.reference()
        if tiny.base.has_segments:
            model = Segmented(model, tokenizer.sep_token_id)
        self._scorer = MaskedLMScorer(model, "cpu", tokenizer=tokenizer)
        self._separator = SEPARATORS[tiny.base.architecture.model_type]

    def token_log_probs(self, texts: list[str], metric: str) -> list[list[float]]:
        """Of each token of each text."""
        scored = self._scorer.token_score(texts, PLL_metric=metric)
        return [[value for _, value in tokens] for tokens in scored]

    def pairs(self, metric: str) -> list[float]:
        """The choices' scores with the context, of all tokens of both."""
        texts = [f"{CONTEXT}{self._separator}{choice}" for choice in CHOICES]
        return self._scorer.sequence_score(
            texts, reduction=lambda found: found.sum().item(), PLL_metric=metric
        )

    def answers(self, metric: str) -> list[float]:
        """The choices' scores given the context."""
        return self._scorer.conditional_score(
            [CONTEXT] * len(CHOICES),
            list(CHOICES),
            separator=self._separator,
            reduction=lambda found: found.sum().item(),
            PLL_metric=metric,
        )


def _holds_against_minicons(tiny: Tiny) -> None:
    peer, engine = Minicons(tiny), plm.Engine(tiny.base)
    for scoring, metric in (("pll", "original"), ("pll_l2r", "within_word_l2r")):
        alone = plm.score_choices(engine, None, CHOICES, scoring=scoring)
        for one, theirs in zip(alone, peer.token_log_probs(list(CHOICES), metric), strict=True):
            assert [token.log_prob for token in one.tokens] == pytest.approx(theirs, abs=1e-4)
            assert one.score == pytest.approx(sum(theirs), abs=1e-4)
        pairs = plm.score_choices(engine, CONTEXT, CHOICES, scoring=scoring)
        assert [one.score for one in pairs] == pytest.approx(peer.pairs(metric), abs=1e-4)
    answers = plm.score_choices(engine, CONTEXT, CHOICES, scoring="answer")
    expected = peer.answers("within_word_l2r")
    assert [one.score for one in answers] == pytest.approx(expected, abs=1e-4)
    # That the tests have words of several pieces, without which both metrics are one.
    assert np.abs(np.subtract(expected, peer.answers("original"))).max() > 1e-2


def test_scores_are_those_of_minicons(tiny: Tiny) -> None:
    _holds_against_minicons(tiny)


def test_scores_of_the_embedded_base_are_those_of_minicons() -> None:
    from tests.plm.conftest import Tiny

    base = plm.load_base("minilm-l6-mlm", device="cpu")
    _holds_against_minicons(Tiny(base, BASES / "minilm-l6-mlm", ()))


def test_the_best_choice_is_scored_by_its_context_unless_told_otherwise(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    default = plm.score_choices(engine, CONTEXT, CHOICES)
    assert default == plm.score_choices(engine, CONTEXT, CHOICES, scoring="context")
    assert {token.part for one in default for token in one.tokens} == {"context"}
    alone = plm.score_choices(engine, None, CHOICES)
    assert alone == plm.score_choices(engine, None, CHOICES, scoring="pll_l2r")
    assert {token.part for one in alone for token in one.tokens} == {"choice"}


def test_a_row_is_asked_once_for_all_tokens_wanted_there(bert: Tiny) -> None:
    words = ("dog", "cloth", "linen")
    plan = plm.plan_choices(bert.base, "this is a", words, scoring="answer")
    assert len(plan.probes) == 1
    assert plan.probes[0].wanted.tokens.shape == (1, 3)
    engine = plm.Engine(bert.base)
    together = plan.scores(engine.read(plan.probes))
    for word, one in zip(words, together, strict=True):
        (alone, _) = plm.score_choices(engine, "this is a", [word, "water"], scoring="answer")
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
        ("a", ["dog", "the " * 200], {}, "choices/1", "204 .* with its context; .* at most 40"),
        ("the " * 200, ["dog", "cat"], {}, "context", "200 tokens long, .* at most 40"),
        ("the " * 37, ["dog", "cloth"], {}, "context", "no room for a choice"),
        (None, ["dog", "the " * 200], {}, "choices/1", "202 tokens long; .* at most 40"),
        ("a", ["dog", "Dog"], {}, "choices/1", "same tokens as choice 0"),
        ("a", ["dog", "unseen", "unheard"], {}, "choices/2", "same tokens as choice 1"),
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


def test_the_longest_texts_that_the_model_reads(bert: Tiny) -> None:
    longest = "the " * (bert.base.max_length - 4)
    found = plm.score_choices(plm.Engine(bert.base), longest, ["dog", "cloth"], scoring="pll")
    assert [len(one.tokens) for one in found] == [bert.base.max_length - 3] * 2


def test_a_question_of_too_many_rows_is_refused_before_they_are_made(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = ["a dog", "a cloth"]
    tokens = 2 * (7 + 2) + 7 + 2 * 2
    plan = plm.plan_choices(
        bert.base,
        "a dog is in the house .",
        choices,
        scoring="pll",
        normalize="pmi",
        most_rows=tokens,
    )
    # Of the choices' own rows those with the noun masked are the same, in the pair and alone.
    assert len(plan.probes) == tokens - 2
    monkeypatch.setattr("plm.choices.plan_scores", pytest.fail)
    with pytest.raises(plm.RowLimitError, match=f"{tokens} rows .* at most {tokens - 1}") as caught:
        plm.plan_choices(
            bert.base,
            "a dog is in the house .",
            choices,
            scoring="pll",
            normalize="pmi",
            most_rows=tokens - 1,
        )
    assert caught.value.count == tokens


def test_a_base_whose_tokenizer_does_not_lay_out_pairs(bert: Tiny, tmp_path: Path) -> None:
    shutil.copytree(bert.folder, tmp_path / "plain")
    place = tmp_path / "plain" / "tokenizer.json"
    content = json.loads(place.read_text())
    content["post_processor"]["pair"] = [
        {"Sequence": {"id": name, "type_id": 0}} for name in ("A", "B")
    ]
    place.write_text(json.dumps(content))
    base = plm.load_base(tmp_path / "plain", device="cpu")
    with pytest.raises(plm.PromptError, match="no special token between") as caught:
        plm.plan_choices(base, "a dog", ["a cloth", "a bed"])
    assert caught.value.field == "context"
    assert len(plm.plan_choices(base, None, ["a cloth", "a bed"]).probes) > 0
