"""The base shipped with the package, whatever weights it has at the time."""

from collections.abc import Callable

import pytest
import torch

import plm
from masks import RelationMask, combine_masks
from tests.hugging_face import model_of

NAME = "minilm-l6-mlm"


@pytest.fixture(scope="module")
def base() -> plm.BaseModel:
    if NAME not in plm.embedded_bases():
        pytest.skip(f"the embedded base {NAME} is not installed")
    return plm.load_base(NAME, device="cpu")


def test_it_is_a_six_layer_bert(base: plm.BaseModel) -> None:
    assert base.architecture.model_type == "bert"
    assert (base.layer_count, base.hidden_size, base.vocab_size) == (6, 384, 30522)
    assert plm.default_layer_range(base.layer_count) == (4, 6)
    assert base.max_length == 512


def test_its_logits_are_the_hugging_face_models(base: plm.BaseModel) -> None:
    template = plm.Template.parse("[X] is a kind of [Y].")
    prompts = [plm.encode_prompt(base, template, s) for s in ("linen", "a very small dog")]
    batch = plm.collate(prompts, base)
    logits = plm.Engine(base).logits([prompt.row for prompt in prompts], [None, None])
    with torch.no_grad():
        whole = model_of(base)(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask
        ).logits
    # Logits of this model are around 10, so fp32 leaves about six digits after rounding.
    expected = whole[torch.arange(2), batch.mask_positions]
    torch.testing.assert_close(logits, expected, atol=5e-5, rtol=1e-5)


def test_it_answers_with_words(base: plm.BaseModel) -> None:
    allowed = plm.answer_token_ids(base)
    assert 20_000 < int(allowed.sum()) < 26_000
    prompt = plm.encode_prompt(base, plm.Template.parse("[X] is a kind of [Y]."), "linen")
    (ranking,) = plm.complete(
        plm.Engine(base), [plm.Query(prompt, wanted=plm.TopTokens(words=True))]
    )
    assert len(ranking) == 10
    assert all(c.object.isalnum() for c in ranking)
    with pytest.raises(plm.ObjectError, match=r"is 2 tokens .*##"):
        plm.object_token_id(base, "motherboard")


def test_it_runs_under_a_mask(base: plm.BaseModel, mask_of: Callable[..., RelationMask]) -> None:
    mask = combine_masks([mask_of(base, 0, (4, 6), sparsity=0.05)])
    prompt = plm.encode_prompt(base, plm.Template.parse("[X] is a [Y]."), "linen")
    logits = plm.Engine(base).logits([prompt.row] * 2, [mask, None])
    assert torch.isfinite(logits).all()
    assert not torch.allclose(logits[0], logits[1], atol=1e-2)
