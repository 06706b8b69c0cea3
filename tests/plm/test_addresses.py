"""Passes whose masks the kernel of blocks is told of by addresses."""

from __future__ import annotations

import ctypes
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import MaskMismatchError, PackedMask, RelationMask, combine_masks
from plm.addresses import AddressBook
from plm.affine import BlockedLinear, GroupedLinear
from plm.architectures import ROLES
from plm.layers import AddressedLayer
from plm.linear import linear
from plm.native import SetAddresses, blocked_kernel
from tests.plm.conftest import OtherMask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plm.conftest import Tiny

TYPES = {"float32": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}


@pytest.fixture(params=TYPES)
def base(request: pytest.FixtureRequest, wide: Path) -> plm.BaseModel:
    found = blocked_kernel()
    if found is None or TYPES[request.param] not in found.dtypes:
        pytest.skip(f"this processor has no products of blocks in {request.param}")
    made = plm.load_base(wide, device="cpu", dtype=plm.dtype_named(request.param))
    if not isinstance(made.layers[0].query, BlockedLinear):
        pytest.skip(f"products in {request.param} are left to PyTorch here")
    return made


def _some_roles(mask: RelationMask) -> RelationMask:
    """The same mask of queries and of what widens alone."""
    names = [name for name in mask.shapes if "query" in name or "intermediate" in name]
    shapes, packed = ({name: of[name] for name in names} for of in (mask.shapes, mask.packed))
    return RelationMask(replace(mask.metadata, shapes=shapes), packed)


def test_they_are_the_passes_of_masks_one_by_one(
    base: plm.BaseModel, bert: Tiny, mask_of: Callable[..., RelationMask]
) -> None:
    told, by_parts = plm.Engine(base), plm.Engine(base)
    by_parts._book = None
    # Of other layers each, of all of them, and of some roles alone.
    masks = [mask_of(base, seed, span) for seed, span in enumerate([(2, 3), (3, 3), (1, 2)])]
    some = _some_roles(mask_of(base, 5, (2, 3)))
    union = combine_masks([masks[0], mask_of(base, 6, (2, 3))])
    rows = [prompt.row for prompt in bert.prompts]
    asked: list[list[PackedMask | None]] = [
        [masks[0]] * 5,
        [masks[1], None, masks[0], masks[2], None],
        [some, masks[1], union, None, some],
        [some] * 5,
    ]
    for each in asked:
        expected = by_parts.logits(rows, each)
        # What was filled in by the first pass is read by the second.
        for _ in range(2):
            torch.testing.assert_close(told.logits(rows, each), expected, atol=1e-4, rtol=1e-4)
    assert told.cache.stats().entries == 0


def test_a_mask_of_eight_bits_in_a_pass_is_made(
    base: plm.BaseModel, bert: Tiny, mask_of: Callable[..., RelationMask]
) -> None:
    engine, dense = plm.Engine(base), plm.Engine(base, native=False)
    soft = plm.Engine(base)
    mask = mask_of(base, 1, (2, 3))
    values = RelationMask(
        replace(mask.metadata, method="stochastic", threshold=None, bits_per_weight=8),
        {name: mask.keep(name).astype(np.uint8) * 255 for name in mask.shapes},
    )
    rows = [prompt.row for prompt in bert.prompts]
    found = engine.logits(rows, [mask, values, None, values, mask])
    whole = soft.logits(rows, [mask] * 5)
    exact = dense.logits(rows, [values] * 5)
    slots = [len(row.slots) for row in rows]
    for place, (part, by_bits, made) in enumerate(
        zip(found.split(slots), whole.split(slots), exact.split(slots), strict=True)
    ):
        if place in (1, 3):
            # Values meet the weights in PyTorch, below which lie layers in blocks.
            assert torch.corrcoef(torch.stack([part.flatten(), made.flatten()]))[0, 1] > 0.998
        elif place != 2:
            torch.testing.assert_close(part, by_bits, atol=1e-4, rtol=1e-4)


def test_bits_stay_while_their_addresses_are_known(
    base: plm.BaseModel, mask_of: Callable[..., RelationMask]
) -> None:
    book = AddressBook(base)
    union = combine_masks([mask_of(base, seed, (2, 3)) for seed in (1, 2)])
    expected = {name: bits.copy() for name, bits in union.packed.items()}
    known = book._of(union)
    assert book._of(union) is known
    # Another thread made the union at the same time, and its arrays are the ones that are kept.
    union.packed._made = None
    assert union.packed[min(expected)] is not known.bits[0]
    del union
    gc.collect()
    assert not book._known
    for name, bits in expected.items():
        place = base.maskable[name]
        address = int(known.table[0, place.layer - known.first, ROLES.index(place.role)])
        found = (ctypes.c_uint8 * bits.size).from_address(address)
        np.testing.assert_array_equal(np.frombuffer(found, np.uint8), bits.reshape(-1))


def test_threads_that_meet_a_new_union_at_once_answer_alike(
    base: plm.BaseModel, bert: Tiny, mask_of: Callable[..., RelationMask]
) -> None:
    engine = plm.Engine(base)
    rows = [prompt.row for prompt in bert.prompts]
    masks = [mask_of(base, seed, (2, 3)) for seed in range(8)]
    gate = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for parts in combinations(masks, 2):
            union, alone = combine_masks(parts), combine_masks(parts)

            def ask(_: int, union: PackedMask = union) -> torch.Tensor:
                gate.wait()
                return engine.logits(rows, [union] * len(rows))

            found = list(pool.map(ask, range(4)))
            expected = plm.Engine(base).logits(rows, [alone] * len(rows))
            for each in found:
                torch.testing.assert_close(each, expected, atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_refused(
    base: plm.BaseModel, bert: Tiny, mask_of: Callable[..., RelationMask]
) -> None:
    book, mask = AddressBook(base), mask_of(base, 1, (2, 3))
    name = min(mask.shapes)
    short = OtherMask.of(mask, packed={**mask.packed, name: mask.packed[name][1:]})
    for wrong, why in (
        (bert.combined(), "was made for base"),
        (OtherMask.of(mask, shapes={}), "covers no matrix"),
        (OtherMask.of(mask, shapes={"pooler": (8, 8)}), "covers pooler"),
        (OtherMask.of(mask, shapes={**mask.shapes, name: (8, 8)}), r"has shape \(8, 8\)"),
        (short, rf"the bits of {name} have shape"),
    ):
        with pytest.raises(MaskMismatchError, match=why):
            book.of_pass([None, wrong])


def test_sizes_are_those_of_the_sets(
    base: plm.BaseModel, mask_of: Callable[..., RelationMask]
) -> None:
    table = AddressBook(base).of_pass([mask_of(base, 1, (2, 3)), None])
    part = table.layer(2, (3, 2), (1, 1)).parts[0].query
    assert isinstance(part, GroupedLinear)
    states = torch.randn(5, 128)
    with torch.inference_mode():
        assert linear(states, [part], (3, 2)).shape == (5, 128)
        for sizes in ((5,), (3, 1), (3, 1, 1)):
            with pytest.raises(ValueError, match="do not go with"):
                linear(states, [part], sizes)
        with pytest.raises(ValueError, match="do not go with"):
            linear(torch.randn(5, 64), [part], (3, 2))
        with pytest.raises(ValueError, match="need the kernel of blocks"):
            linear(states.double(), [part], (3, 2))
    with pytest.raises(ValueError, match="need the kernel of blocks"):
        linear(states, [part], (3, 2))
    with pytest.raises(ValueError, match="do not go together"):
        AddressedLayer((base.layers[0],) * 2, (1, 2), (1, 2))


def test_a_set_without_sums_has_them_made_each_time(
    base: plm.BaseModel, mask_of: Callable[..., RelationMask]
) -> None:
    run = blocked_kernel()
    assert run is not None
    book, mask = AddressBook(base), mask_of(base, 1, (2, 3))
    table = book.of_pass([mask])
    part = table.layer(3, (40,), (1,)).parts[0].feed_forward_in
    assert isinstance(part, GroupedLinear)
    states = torch.randn(40, 128)
    alone = SetAddresses(part.where.bits, None, 1)
    expected = run.at(states, part.blocked, None, alone, (40,))
    for _ in range(2):
        assert torch.equal(run.at(states, part.blocked, None, part.where, (40,)), expected)
    if part.blocked.dtype == torch.int8:
        unknown = np.iinfo(np.int32).min
        sums = book._of(mask).sums
        kept = mask.keep(next(name for name in mask.shapes if "2.intermediate" in name))
        assert part.where.sums is not None
        found = sums[sums != unknown]
        weights = part.blocked.blocks.permute(0, 2, 1, 3).reshape(-1, 128)[: len(kept)].int()
        wanted = 128 * (weights * torch.from_numpy(kept)).sum(dim=1)
        np.testing.assert_array_equal(found, wanted.numpy())
