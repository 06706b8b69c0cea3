"""Combinations that are made on a device, beside those of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import Combine, RelationMask, combine_masks
from plm.affine import MaskedLinear
from plm.device_masks import DeviceMasks
from plm.masked import masked_layers, materialise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plm.conftest import Tiny

CPU = torch.device("cpu")


@pytest.fixture
def parts(bert: Tiny, mask_of: Callable[..., RelationMask]) -> list[RelationMask]:
    return [mask_of(bert.base, seed, (2, 4)) for seed in range(5)]


WAYS = ("union", "intersection", "difference")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (count, text)
        for count in (1, 2, 5)
        for text in (*WAYS, *(f"vote:{k}" for k in range(1, count + 1)))
    ],
)
def test_they_are_those_of_the_host(parts: list[RelationMask], text: str, count: int) -> None:
    combine = Combine.parse(text)
    mask = combine_masks(parts[:count], combine)
    found = DeviceMasks(CPU).bits_of(mask)
    assert found.keys() == mask.shapes.keys()
    for name, bits in found.items():
        assert bits.is_contiguous()
        np.testing.assert_array_equal(bits.numpy(), mask.packed[name])


def test_the_parts_are_sent_once_and_left_as_they_are(parts: list[RelationMask]) -> None:
    device = DeviceMasks(CPU)
    before = {name: bits.clone() for name, bits in device.bits_of(parts[0]).items()}
    first = device.bits_of(parts[0])
    for combine in (*WAYS, "vote:2"):
        device.bits_of(combine_masks(parts[:3], Combine.parse(combine)))
    for name, bits in device.bits_of(parts[0]).items():
        assert bits.data_ptr() == first[name].data_ptr()
        assert torch.equal(bits, before[name])


def test_masks_that_are_gone_leave_the_device(
    bert: Tiny, mask_of: Callable[..., RelationMask]
) -> None:
    device, mask = DeviceMasks(CPU), mask_of(bert.base, 7, (2, 3))
    device.bits_of(combine_masks([mask, mask_of(bert.base, 8, (2, 3))]))
    assert list(device._sent) == [mask]
    del mask
    assert not device._sent


@pytest.mark.parametrize("cached", [False, True])
def test_layers_take_what_is_there_and_the_host_makes_nothing(
    bert: Tiny, parts: list[RelationMask], monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    union = combine_masks(parts[:2])
    expected = materialise(bert.base, combine_masks(parts[:2]))
    monkeypatch.setattr("masks.expression._combine", lambda *_: pytest.fail("made on the host"))
    device = DeviceMasks(CPU)
    if cached:
        found = plm.MaskCache(bert.base, 0, device_masks=device).get(union)
    else:
        found = masked_layers(bert.base, union, device_masks=device)
    masked = [
        (part, dense)
        for layer, made in zip(found.layers, expected.layers, strict=True)
        for (_, part), (_, dense) in zip(layer.linears(), made.linears(), strict=True)
        if isinstance(part, MaskedLinear)
    ]
    assert len(masked) == len(union.shapes)
    for part, dense in masked:
        kept = plm.unpacking.spread_bits(part.device_bits, part.shape[1])
        assert torch.equal(part.base.weight * kept, dense.weight)
