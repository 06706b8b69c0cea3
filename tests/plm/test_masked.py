from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import MaskMismatchError, pack_bits
from plm.unpacking import on_device, spread_bits, unpack_keep
from tests.plm.conftest import OtherMask

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny


def test_bits_unpack_as_they_were_packed() -> None:
    random = np.random.default_rng(0)
    for columns in (1, 7, 8, 9, 31, 32, 33):
        keep = random.random((5, columns)) > 0.5
        for unpacked in (
            unpack_keep(pack_bits(keep), columns),
            spread_bits(on_device(pack_bits(keep), torch.device("cpu")), columns),
        ):
            assert unpacked.dtype == torch.bool
            np.testing.assert_array_equal(unpacked.numpy(), keep)


def test_masked_weights_are_the_product(tiny: Tiny) -> None:
    base, mask = tiny.base, tiny.combined(layers=(2, 3))
    masked = plm.materialise(base, mask)
    assert (masked.first, masked.last, masked.digest) == (2, 3, mask.digest)
    assert masked.byte_size == 4 * mask.weight_count
    for place in plm.maskable_weights(base.architecture, 2, 3):
        made = masked.layers[place.layer - 2].linear(place.role)
        expected = base.weight(place.name) * torch.from_numpy(mask.keep(place.name).copy())
        assert torch.equal(made.weight, expected)
        assert made.bias is base.layers[place.layer - 1].linear(place.role).bias


def test_weights_made_at_use_are_those_that_are_kept(tiny: Tiny) -> None:
    mask = tiny.combined(layers=(2, 4))
    made, kept = plm.masked_layers(tiny.base, mask), plm.materialise(tiny.base, mask)
    assert (made.first, made.last, made.digest, made.byte_size) == (2, 4, mask.digest, 0)
    for at_use, dense in zip(made.layers, kept.layers, strict=True):
        for (role, part), (_, other) in zip(at_use.linears(), dense.linears(), strict=True):
            assert torch.equal(part.weight, other.weight), role
            assert part.bias is other.bias


def test_the_base_is_not_touched(tiny: Tiny) -> None:
    before = {name: w.clone() for name, w in tiny.base.parameters.items()}
    engine = plm.Engine(tiny.base)
    rows = [prompt.row for prompt in tiny.prompts]
    sets = [None, tiny.combined(1), tiny.combined(2), tiny.union(1, 2), None]
    engine.logits(rows, sets)
    engine.logits(rows, sets[::-1])
    after = tiny.base.parameters
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert plm.weights_digest(tiny.base.parameters) == tiny.base.digest


def test_a_layer_that_is_not_covered_is_the_bases(bert: Tiny) -> None:
    masked = plm.materialise(bert.base, bert.combined(layers=(2, 3)))
    assert masked.layer(bert.base, 1) is bert.base.layers[0]
    assert masked.layer(bert.base, 2) is masked.layers[0]
    assert masked.layer(bert.base, 4) is bert.base.layers[3]


def test_a_mask_of_another_base(bert: Tiny, mpnet: Tiny) -> None:
    with pytest.raises(MaskMismatchError, match="was made for base sha256:"):
        plm.materialise(bert.base, mpnet.combined())


def test_a_matrix_that_the_base_does_not_have(bert: Tiny) -> None:
    mask = bert.combined()
    other = OtherMask.of(
        mask,
        shapes={"bert.pooler.dense.weight": (32, 32)},
        packed={"bert.pooler.dense.weight": np.zeros((32, 4), dtype=np.uint8)},
    )
    with pytest.raises(MaskMismatchError, match=r"covers bert\.pooler"):
        plm.materialise(bert.base, other)


def test_a_matrix_of_another_shape(bert: Tiny) -> None:
    mask = bert.combined()
    name = min(mask.shapes)
    with pytest.raises(MaskMismatchError, match=r"has shape \(8, 8\)"):
        plm.materialise(bert.base, OtherMask.of(mask, shapes={**mask.shapes, name: (8, 8)}))


def test_a_mask_of_nothing(bert: Tiny) -> None:
    with pytest.raises(MaskMismatchError, match="covers no matrix"):
        plm.materialise(bert.base, OtherMask.of(bert.combined(), shapes={}, packed={}))
