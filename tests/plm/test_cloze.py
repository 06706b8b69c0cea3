from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import plm
from tests.hugging_face import tokenizer_of

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def test_templates_keep_their_text() -> None:
    template = plm.Template.parse("An [X] is a [Y] .")
    assert template.text == "An [X] is a [Y] ."
    assert template.has_subject
    assert template.fill("Apple", "<m>") == "An Apple is a <m> ."
    alone = plm.Template.parse("[Y] is wet.")
    assert not alone.has_subject
    assert alone.fill(None, "<m>") == "<m> is wet."


def test_the_object_may_come_first() -> None:
    assert plm.Template.parse("[Y] and [X]").fill("a", "b") == "b and a"


def test_placeholders_in_a_subject_are_text() -> None:
    assert plm.Template.parse("[X] is [Y].").fill("[Y] or [X]", "<m>") == "[Y] or [X] is <m>."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"holds \[Y\] 0 times"),
        ("[X] is nice.", r"holds \[Y\] 0 times"),
        ("[Y] is a [Y].", r"holds \[Y\] 2 times"),
        ("[X] and [X] are [Y].", r"holds \[X\] 2 times"),
        ("[x] is a [Y].", r"holds \[x\]; placeholders are \[X\]"),
        ("[Z] is a [Y].", r"holds \[Z\]"),
        ("[X] is\x00 a [Y].", r"control character U\+0000"),
        ("[X] is \ud800 a [Y].", r"lone surrogate U\+D800"),
    ],
)
def test_bad_templates(text: str, message: str) -> None:
    with pytest.raises(plm.TemplateError, match=message):
        plm.Template.parse(text)


def test_prompts_are_tokenised_as_the_tokenizer_does(tiny: Tiny) -> None:
    for prompt in tiny.prompts:
        assert list(prompt.input_ids) == tokenizer_of(tiny.base)(prompt.text)["input_ids"]
        assert prompt.input_ids[prompt.mask_position] == tiny.base.mask_token_id
        assert prompt.text.count(tiny.base.mask_token) == 1


def test_spaces_of_a_subject_are_trimmed_and_collapsed(tiny: Tiny) -> None:
    template = plm.Template.parse("[X] is a [Y].")
    neat = plm.encode_prompt(tiny.base, template, "small dog")
    assert plm.encode_prompt(tiny.base, template, "  small \t\n dog\u00a0") == neat
    assert neat.text == f"small dog is a {tiny.base.mask_token}."


@pytest.mark.parametrize(
    ("template", "subject", "field", "message"),
    [
        ("[X] is a [Y].", None, "subject", "needs a subject"),
        ("[X] is a [Y].", "", "subject", "blank"),
        ("[X] is a [Y].", " \t ", "subject", "blank"),
        ("[X] is a [Y].", "a\x07dog", "subject", r"control character U\+0007"),
        ("[X] is a [Y].", "a\udc00dog", "subject", r"lone surrogate U\+DC00"),
        ("[X] is a [Y].", "\u200b", "subject", "known to the model's tokenizer"),
        ("It is a [Y].", "dog", "subject", r"has no \[X\]"),
        ("[X] is a [Y] [MASK].", "dog", "template", r"special token \[MASK\]"),
        ("[X] is a [Y] [SEP].", "dog", "template", r"special token \[SEP\]"),
        ("[X] is a [Y].", "the [MASK]", "subject", r"special token \[MASK\]"),
        ("[X] is a [Y].", "a[CLS]b", "subject", r"special token \[CLS\]"),
        ("[X] is a [Y].", "dog " * 40, "subject", "46 tokens long; .* at most 40"),
        ("dog " * 40 + "[Y]", None, "template", "43 tokens long; .* at most 40"),
    ],
)
def test_bad_prompts_name_the_field(
    bert: Tiny, template: str, subject: str | None, field: str, message: str
) -> None:
    with pytest.raises(plm.PromptError, match=message) as caught:
        plm.encode_prompt(bert.base, plm.Template.parse(template), subject)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_special_tokens_are_those_of_the_model(tiny: Tiny) -> None:
    template = plm.Template.parse("[X] is a [Y].")
    for token in tokenizer_of(tiny.base).all_special_tokens:
        with pytest.raises(plm.PromptError, match="special token"):
            plm.encode_prompt(tiny.base, template, f"big {token}")


def test_length_is_counted_with_special_tokens(bert: Tiny) -> None:
    template = plm.Template.parse("[X] [Y]")
    assert len(plm.encode_prompt(bert.base, template, "dog " * 37).input_ids) == 40
    with pytest.raises(plm.PromptError, match="41 tokens"):
        plm.encode_prompt(bert.base, template, "dog " * 38)


def test_batches_are_padded_on_the_right(tiny: Tiny) -> None:
    batch = plm.collate(tiny.prompts, tiny.base)
    lengths = [len(prompt.input_ids) for prompt in tiny.prompts]
    assert batch.input_ids.shape == (len(lengths), max(lengths))
    assert batch.attention_mask.sum(1).tolist() == lengths
    padding = batch.input_ids[batch.attention_mask == 0]
    assert (padding == tiny.base.pad_token_id).all()
    rows = torch.arange(len(lengths))
    assert (batch.input_ids[rows, batch.mask_positions] == tiny.base.mask_token_id).all()


def test_an_empty_batch(bert: Tiny) -> None:
    with pytest.raises(ValueError, match="at least one prompt"):
        plm.collate([], bert.base)
