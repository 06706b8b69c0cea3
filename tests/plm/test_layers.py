from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

import plm
from plm.layers import attention

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def _weights(base: plm.BaseModel, first: int) -> dict[str, Tensor]:
    names = plm.maskable_names(base.architecture, first, base.layer_count)
    return {name: base.weight(name).clone().requires_grad_() for name in names}


def _layers(
    base: plm.BaseModel, first: int, weights: dict[str, Tensor]
) -> Sequence[plm.LayerWeights]:
    places = plm.maskable_weights(base.architecture, first, base.layer_count)
    return [
        base.layers[layer - 1].with_weights(
            {place.role: weights[place.name] for place in places if place.layer == layer}
        )
        for layer in range(first, base.layer_count + 1)
    ]


def test_gradients_equal_those_of_the_hugging_face_model(tiny: Tiny) -> None:
    base, first = tiny.base, 3
    mask = tiny.combined()
    batch = plm.collate(tiny.prompts, base)
    targets = torch.arange(10, 10 + len(tiny.prompts))
    rows = torch.arange(len(tiny.prompts))

    ours = _weights(base, first)
    masked = {name: w * torch.from_numpy(mask.keep(name).copy()) for name, w in ours.items()}
    states = plm.upper_rows(
        base,
        plm.lower_states(base, batch, first),
        batch.attention_mask,
        batch.mask_positions,
        _layers(base, first, masked),
    )
    loss = torch.nn.functional.cross_entropy(base.head(states), targets)
    loss.backward()

    reference = tiny.reference(mask)
    logits = reference(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    expected = torch.nn.functional.cross_entropy(logits[rows, batch.mask_positions], targets)
    expected.backward()

    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for name, weight in ours.items():
        pruned = reference.get_submodule(name.removesuffix(".weight")).weight_orig
        assert pruned.grad.abs().max() > 1e-4
        torch.testing.assert_close(weight.grad, pruned.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("grad", [False, True])
def test_some_slots_equal_those_of_all(tiny: Tiny, grad: bool) -> None:
    base = tiny.base
    packed = plm.pack_rows(
        base,
        [
            plm.EncodedRow(prompt.input_ids, slots)
            for prompt, slots in zip(
                tiny.prompts, [(1,), (2, 3), (1, 2, 4), (0,), (5,)], strict=True
            )
        ],
    )
    hidden = packed.layout.unpad(base.embed(packed.input_ids, packed.attention_mask))
    assert len(hidden) == sum(packed.lengths) < packed.input_ids.numel()
    with torch.set_grad_enabled(grad):
        whole = plm.run_layers(base, hidden, base.layers[1:2], packed.layout)
        slots = plm.run_layers(base, hidden, base.layers[1:2], packed.layout, packed.slots)
    assert whole.shape == hidden.shape
    torch.testing.assert_close(slots, whole[packed.slots.tokens], atol=1e-6, rtol=1e-5)


def test_packed_states_are_those_of_the_padded_batch(tiny: Tiny) -> None:
    base = tiny.base
    packed = plm.pack_rows(base, [prompt.row for prompt in tiny.prompts])
    hidden = packed.layout.unpad(base.embed(packed.input_ids, packed.attention_mask))
    with torch.no_grad():
        ours = packed.layout.pad(plm.run_layers(base, hidden, base.layers[:2], packed.layout))
    padded = plm.lower_states(base, plm.collate(tiny.prompts, base), 3)
    taken = packed.attention_mask.bool()
    torch.testing.assert_close(ours[taken], padded[taken], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("grad", [False, True])
def test_a_grouped_layer_equals_each_part_alone(tiny: Tiny, grad: bool) -> None:
    base = tiny.base
    packed = plm.pack_rows(base, [prompt.row for prompt in tiny.prompts])
    hidden = packed.layout.unpad(base.embed(packed.input_ids, packed.attention_mask))
    parts = (
        base.layers[2],
        plm.materialise(base, tiny.combined(1)).layers[0],
        plm.materialise(base, tiny.combined(2)).layers[0],
    )
    rows = (2, 1, 2)
    owner = [place for place, count in enumerate(rows) for _ in range(count)]
    tokens = tuple(
        sum(n for n, p in zip(packed.lengths, owner, strict=True) if p == place)
        for place in range(3)
    )
    grouped = plm.GroupedLayer(parts, tokens, rows)
    with torch.set_grad_enabled(grad):
        for slots, sizes in ((None, tokens), (packed.slots, rows)):
            together = plm.run_layers(base, hidden, [grouped], packed.layout, slots)
            starts = [sum(sizes[:place]) for place in range(3)]
            for part, start, size in zip(parts, starts, sizes, strict=True):
                alone = plm.run_layers(base, hidden, [part], packed.layout, slots)
                own = slice(start, start + size)
                torch.testing.assert_close(together[own], alone[own], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("slots", [(), (-1,), (99,)])
def test_slots_lie_among_the_tokens(bert: Tiny, slots: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one or more slots among them"):
        plm.pack_rows(bert.base, [plm.EncodedRow(bert.prompts[0].input_ids, slots)])


@pytest.mark.parametrize("tokens", [5, 50])
def test_both_kinds_of_attention_agree(tokens: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, n, 8) for n in (3, tokens, tokens))
    bias = torch.zeros(2, 1, 1, tokens)
    bias[1, ..., 3:] = torch.finfo(torch.float32).min
    for given in (None, bias):
        heads = [x.view(2, -1, 2, 4).transpose(1, 2) for x in (query, key, value)]
        fused = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=given)
        fused = fused.transpose(1, 2).flatten(2)
        for grad in (True, False):
            with torch.set_grad_enabled(grad):
                ours = attention(query, key, value, given, heads=2)
            torch.testing.assert_close(ours, fused, atol=1e-6, rtol=1e-5)


def test_padding_alone_needs_a_bias(bert: Tiny, mpnet: Tiny) -> None:
    full = torch.ones(2, 6, dtype=torch.long)
    padded = full.clone()
    padded[1, 4:] = 0
    assert plm.attention_bias(bert.base, full) is None
    bias = plm.attention_bias(bert.base, padded)
    assert bias.shape == (2, 1, 1, 6)
    assert (bias[0] == 0).all()
    assert (bias[1, ..., 4:] == torch.finfo(torch.float32).min).all()
    assert plm.attention_bias(mpnet.base, full).shape == (1, 4, 6, 6)
    assert plm.attention_bias(mpnet.base, padded).shape == (2, 4, 6, 6)


def test_with_weights_refuses_what_does_not_fit(bert: Tiny) -> None:
    layer = bert.base.layers[0]
    with pytest.raises(ValueError, match="query has shape"):
        layer.with_weights({"query": torch.zeros(3, 3)})
    with pytest.raises(ValueError, match="no role 'pooler'"):
        layer.with_weights({"pooler": torch.zeros(32, 32)})
    other = layer.with_weights({"query": torch.zeros(32, 32)})
    assert other.query.bias is layer.query.bias
    assert other.key is layer.key


def test_groups_have_as_many_sizes_as_parts(bert: Tiny) -> None:
    with pytest.raises(ValueError, match="do not go with"):
        plm.GroupedLayer((bert.base.layers[0],), (1, 2), (1, 2))
    with pytest.raises(ValueError, match="do not go with"):
        plm.GroupedLayer((), (), ())


def test_states_outside_the_model(bert: Tiny) -> None:
    batch = plm.collate(bert.prompts, bert.base)
    for below in (0, 6):
        with pytest.raises(ValueError, match="layers are 1 to 4"):
            plm.lower_states(bert.base, batch, below)
    with pytest.raises(ValueError, match="last layer"):
        plm.upper_rows(
            bert.base,
            plm.lower_states(bert.base, batch, 5),
            batch.attention_mask,
            batch.mask_positions,
            [],
        )


def test_lower_states_are_the_hugging_face_hidden_states(tiny: Tiny) -> None:
    batch = plm.collate(tiny.prompts, tiny.base)
    with torch.no_grad():
        expected = tiny.reference()(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
        ).hidden_states
    real = batch.attention_mask.bool()
    for below in range(1, 6):
        states = plm.lower_states(tiny.base, batch, below)
        # States at padding are never read, and the two differ there.
        torch.testing.assert_close(states[real], expected[below - 1][real], atol=1e-5, rtol=1e-5)
