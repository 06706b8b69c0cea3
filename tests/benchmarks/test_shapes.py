"""Sentences of given lengths, and what stands in for models and masks of other sizes."""

import pytest

from benchmarks.questions import long_prompt
from benchmarks.shapes import drawn_masks, source_of
from benchmarks.specialists import masks_of
from plm import BaseModel, Engine, Probe, Template, TopTokens, encode_prompt, load_base


@pytest.fixture(scope="module")
def base() -> BaseModel:
    return load_base("minilm-l6-mlm", device="cpu")


def test_a_sentence_of_so_many_tokens(base: BaseModel) -> None:
    template = Template.parse("[X] is a [Y] .")
    assert long_prompt(base, template, "knife", 0) == encode_prompt(base, template, "knife")
    prompt = long_prompt(base, template, "knife", 60)
    assert len(prompt.input_ids) == 60
    assert prompt.text.endswith("old knife is a [MASK] .")


def test_drawn_masks_cover_the_upper_half_and_keep_half_of_it(base: BaseModel) -> None:
    shipped = masks_of()[:2]
    drawn = drawn_masks(base, shipped)
    assert [mask.relation for mask in drawn] == [mask.relation for mask in shipped]
    assert drawn[0].digest != drawn[1].digest
    for mask in drawn:
        assert mask.metadata.layers == (4, 6)
        assert mask.sparsity == pytest.approx(0.5, abs=0.01)
    row = encode_prompt(base, Template.parse("[X] is a [Y] ."), "knife").row
    assert Engine(base).read([Probe(row, drawn[0], TopTokens(1))])


def test_without_a_shape_the_base_is_read() -> None:
    with source_of(None, "minilm-l6-mlm") as source:
        assert source == "minilm-l6-mlm"
