"""Objects of several tokens are scored exactly: held against the Hugging Face model, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import CombinedMask
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

# Words, a phrase, and words of several pieces; in any order.
OBJECTS = ("cloth", "red house", "dogs", "linen", "a small dog", "animal", "eaten", "1990 - 1990")


def _candidates(base: plm.BaseModel, *objects: str) -> plm.Candidates:
    tokens = plm.tokenise_objects(base, objects, most=plm.MAX_OBJECT_TOKENS)
    return plm.Candidates.of([ids for ids in tokens if isinstance(ids, tuple)])


def _scores(
    base: plm.BaseModel, prompt: plm.EncodedPrompt, mask: CombinedMask | None, *objects: str
) -> list[float]:
    candidates = _candidates(base, *objects)
    probes = plm.candidate_probes(base, prompt, mask, candidates)
    scores: list[float] = plm.candidate_scores(candidates, plm.Engine(base).read(probes)).tolist()
    return scores


def _twin(tiny: Tiny, prompt: plm.EncodedPrompt, mask: CombinedMask | None, text: str) -> float:
    """One candidate: masks written into the sentence, Hugging Face's model, and a plain mean."""
    tokenizer = tokenizer_of(tiny.base)
    lead = " " if tiny.base.architecture.model_type == "roberta" else ""
    wanted = tokenizer(lead + text, add_special_tokens=False)["input_ids"]
    masks = " ".join([tokenizer.mask_token] * len(wanted))
    encoded = tokenizer(prompt.text.replace(tokenizer.mask_token, masks), return_tensors="pt")
    with torch.no_grad():
        logits = tiny.reference(mask)(**encoded).logits[0]
    places = (encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero()[:, 0]
    assert len(places) == len(wanted)
    log_probs = logits[places].log_softmax(dim=1)
    return float(log_probs[torch.arange(len(wanted)), torch.tensor(wanted)].mean())


def test_scores_are_the_mean_over_the_filled_masks(tiny: Tiny) -> None:
    for mask in (None, tiny.union(1, 2)):
        for prompt in tiny.prompts:
            found = _scores(tiny.base, prompt, mask, *OBJECTS)
            expected = [_twin(tiny, prompt, mask, text) for text in OBJECTS]
            assert found == pytest.approx(expected, abs=1e-4)


def test_one_token_gets_what_a_completion_gives(tiny: Tiny) -> None:
    engine = plm.Engine(tiny.base)
    words = ("cloth", "linen", "animal")
    tokens = tuple(plm.object_token_id(tiny.base, word) for word in words)
    query = plm.Query(tiny.prompts[0], tiny.combined(), plm.TopTokens(targets=tokens))
    by_token = {item.token_id: item.log_prob for item in plm.complete(engine, [query])[0]}
    found = _scores(tiny.base, tiny.prompts[0], tiny.combined(), *words, "red house")
    assert found[:3] == pytest.approx([by_token[token] for token in tokens], abs=1e-5)


def test_each_length_is_one_row_of_as_many_masks(bert: Tiny) -> None:
    prompt = bert.prompts[1]
    candidates = _candidates(bert.base, *OBJECTS)
    probes = plm.candidate_probes(bert.base, prompt, None, candidates)
    assert [len(probe.row.slots) for probe in probes] == [1, 2, 3]
    tokenizer = tokenizer_of(bert.base)
    for probe in probes:
        text = prompt.with_object(" ".join(["[MASK]"] * len(probe.row.slots)), "[MASK]")
        assert probe.row.input_ids == tuple(tokenizer(text)["input_ids"])
        masks = [
            i for i, token in enumerate(probe.row.input_ids) if token == bert.base.mask_token_id
        ]
        assert list(probe.row.slots) == masks
    assert probes[0].row == prompt.row
    places = np.concatenate([group.places for group in candidates.groups])
    assert sorted(places.tolist()) == list(range(len(OBJECTS)))


def test_a_score_does_not_depend_on_the_other_candidates(roberta: Tiny) -> None:
    together = _scores(roberta.base, roberta.prompts[0], None, *OBJECTS)
    alone = [_scores(roberta.base, roberta.prompts[0], None, text)[0] for text in OBJECTS]
    assert together == pytest.approx(alone, abs=1e-5)


def test_objects_are_tokenised_as_in_the_middle_of_a_sentence(tiny: Tiny) -> None:
    tokenizer = tokenizer_of(tiny.base)
    plain = tokenizer("is a", add_special_tokens=False)["input_ids"]
    for text in OBJECTS:
        (found,) = plm.tokenise_objects(tiny.base, [text], most=8)
        assert (
            found
            == tuple(tokenizer(f"is a {text}", add_special_tokens=False)["input_ids"])[len(plain) :]
        )


def test_spaces_are_trimmed_and_collapsed(tiny: Tiny) -> None:
    one, other = plm.tokenise_objects(tiny.base, ["red house", "\t red \n house "], most=8)
    assert one == other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "blank"),
        (" \t", "blank"),
        ("a\x00b", "control character U\\+0000"),
        ("\ud800", "surrogate U\\+D800"),
        ("\u200b", "no character"),
        ("zebra", "not, or not all of it, in the vocabulary of tiny-bert"),
        ("red zebra", "not, or not all of it"),
        ("[MASK]", "special token"),
        ("red [SEP]", "special token"),
        ("dog " * 9, "is 9 tokens of tiny-bert; it may be at most 8"),
    ],
)
def test_what_cannot_be_asked_for_is_told_and_spoils_no_other(
    bert: Tiny, text: str, message: str
) -> None:
    before, fault, after = plm.tokenise_objects(bert.base, ["dog", text, "red house"], most=8)
    assert isinstance(fault, plm.ObjectError)
    with pytest.raises(plm.ObjectError, match=message):
        raise fault
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    assert (len(before), len(after)) == (1, 2)


def test_special_tokens_of_byte_level_bpe_are_no_objects(roberta: Tiny) -> None:
    for found in plm.tokenise_objects(roberta.base, ["<mask>", "red </s>"], most=8):
        assert isinstance(found, plm.ObjectError)


def test_a_prompt_that_grows_too_long_is_refused(bert: Tiny) -> None:
    prompt = plm.encode_prompt(bert.base, plm.Template.parse("[X] is [Y]."), "dog " * 34)
    fitting = _candidates(bert.base, "red house")
    assert bert.base.max_length == len(prompt.input_ids) + 1
    assert plm.candidate_probes(bert.base, prompt, None, fitting)
    with pytest.raises(plm.PromptError, match="object of 3 tokens the prompt is 41 tokens long"):
        plm.candidate_probes(bert.base, prompt, None, _candidates(bert.base, "a small dog"))


@pytest.mark.parametrize("objects", [[], [()], [(1,), ()]])
def test_candidates_have_tokens(objects: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="one or more"):
        plm.Candidates.of(objects)


def test_the_inverse_template_asks_for_the_subject(bert: Tiny) -> None:
    template = plm.Template.parse("A [Y] is used by [X], the one.")
    assert template.inverse.text == "A [X] is used by [Y], the one."
    assert template.inverse.inverse == template
    prompt = plm.encode_prompt(bert.base, template.inverse, "red house")
    assert prompt.text == "A red house is used by [MASK], the one."
    with pytest.raises(plm.TemplateError, match=r"no \[X\]"):
        _ = plm.Template.parse("It is [Y].").inverse
