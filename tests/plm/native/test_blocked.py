"""The kernel of blocks beside its twins in PyTorch, and the engine with it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import RelationMask, combine_masks, pack_bits
from plm.affine import BlockedLinear, Linear, MaskedLinear, narrowed, resident
from plm.linear import linear
from plm.native import BlockedKernel, PackedBits, blocked_kernel
from plm.native.loading import blocked_works, chosen_blocked
from plm.precision import has_amx
from tests.plm.native.products import Drawn, masked_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plm.conftest import Tiny

TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8)


@pytest.fixture(params=TYPES, ids=["single", "half", "bfloat16", "int8"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    found = blocked_kernel()
    if found is None or request.param not in found.dtypes:
        pytest.skip(f"this processor has no instructions for products in {request.param}")
    return request.param


@pytest.fixture
def run() -> BlockedKernel:
    found = blocked_kernel()
    if found is None:
        pytest.skip("this processor has no AVX-512, or the native kernels are not built")
    return found


# Fewer rows of W than a block, no multiple of two blocks, words of bits in pieces whole and begun.
@pytest.mark.parametrize(
    ("width", "depth"),
    [(1, 64), (50, 128), (384, 384), (129, 1536), (40, 32), (33, 96), (16, 192), (7, 224)],
)
# Every number of rows that a tile may have, tiles of several sizes, empty sets, and several ranges.
@pytest.mark.parametrize(
    "sizes", [tuple(range(1, 14)), (5, 0, 1, 40, 25), (0,), (1,), (300, 7), (97, 96, 95)]
)
def test_it_is_the_product_with_the_masked_weights(
    run: BlockedKernel, dtype: torch.dtype, width: int, depth: int, sizes: tuple[int, ...]
) -> None:
    case = Drawn.of(width, depth, sizes)
    weight, bias, states, kept = case.weight.half().float(), case.bias, case.states, case.kept
    bits = case.bits
    if depth % 64 and dtype == torch.int8:
        assert not run.takes(weight, dtype)
        return
    packed = run.pack(weight, dtype)
    found = run(states, packed, bias, bits, sizes)
    expected = masked_product(states, packed.dense(), bias, kept=kept, sizes=sizes, dtype=dtype)
    torch.testing.assert_close(found / depth**0.5, expected / depth**0.5, atol=2e-5, rtol=2e-5)
    without = run(states, packed, None, bits, sizes)
    torch.testing.assert_close(without + bias, found, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_sums(
    run: BlockedKernel, dtype: torch.dtype, threads: int
) -> None:
    generator = torch.Generator().manual_seed(1)
    packed = run.pack(torch.randn(70, 128, generator=generator), dtype)
    states = torch.randn(500, 128, generator=generator)
    expected = run(states, packed, None, [None], [500])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        # No range of 500 rows ends in one or two, whose sums are made in several chains.
        assert torch.equal(run(states, packed, None, [None], [500]), expected)
    finally:
        torch.set_num_threads(before)


def test_blocks_hold_the_weights(run: BlockedKernel, dtype: torch.dtype) -> None:
    weight = torch.randn(50, 128, generator=torch.Generator().manual_seed(2))
    weight[7] = 0
    packed = run.pack(weight, dtype)
    assert packed.shape == (50, 128)
    assert packed.dtype == dtype
    if dtype == torch.int8:
        # Off by half a step of the row's largest value at most; and a row of nothing stays nothing.
        steps = weight.abs().amax(dim=1, keepdim=True) / 127
        assert bool(((packed.dense() - weight).abs() <= 0.501 * steps).all())
    else:
        assert torch.equal(packed.dense(), weight.to(dtype).float())
    assert not packed.dense()[7].any()


def test_rows_of_nothing_give_the_bias(run: BlockedKernel, dtype: torch.dtype) -> None:
    packed = run.pack(torch.randn(40, 64, generator=torch.Generator().manual_seed(3)), dtype)
    bias = torch.randn(40, generator=torch.Generator().manual_seed(4))
    assert torch.equal(run(torch.zeros(3, 64), packed, bias, [None], [3]), bias.expand(3, 40))


def test_it_says_what_it_takes(run: BlockedKernel, dtype: torch.dtype) -> None:
    whole = 64 if dtype == torch.int8 else 32
    assert run.takes(torch.zeros(5, whole), dtype)
    assert not run.takes(torch.zeros(5, whole + 8), dtype)
    assert not run.takes(torch.zeros(5, 16_384), dtype)
    assert not run.takes(torch.zeros(5, whole), torch.float64)
    with pytest.raises(ValueError, match="does not take a weight"):
        run.pack(torch.zeros(5, whole + 8), dtype)
    packed = run.pack(torch.zeros(4, 64), dtype)
    bits, short = (PackedBits(np.zeros((rows, 8), np.uint8)) for rows in (4, 3))
    states = torch.zeros(2, 64)
    for wrong in ([bits], (3,)), ([short], (2,)):
        with pytest.raises(ValueError, match="do not go with"):
            run(states, packed, None, *wrong)
    with pytest.raises(ValueError, match="do not go with"):
        run(torch.zeros(2, 128), packed, None, [bits], (2,))


def test_linears_go_through_it(run: BlockedKernel, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(40, 128, generator=generator).half().float()
    products = torch.float32 if dtype == torch.float16 else dtype
    base = resident(narrowed(weight), torch.randn(40, generator=generator), products)
    assert isinstance(base, BlockedLinear)
    kept = torch.rand(40, 128, generator=generator) > 0.5
    masked = MaskedLinear(base, {"w": pack_bits(kept.numpy())}, "w")
    states = torch.randn(9, 128, generator=generator)
    with torch.inference_mode():
        found = linear(states, [masked, base], (4, 5))
        twin = linear(states, [MaskedLinear(base, masked.packed, "w", native=False)], (9,))[:4]
    assert base.bias is not None
    dense = base.blocked.dense()
    expected = masked_product(
        states, dense, base.bias, kept=[kept, None], sizes=(4, 5), dtype=dtype
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # In PyTorch nothing is rounded.
    exact = masked_product(
        states[:4], weight, base.bias, kept=[kept], sizes=(4,), dtype=torch.float16
    )
    torch.testing.assert_close(twin, exact, atol=1e-4, rtol=1e-4)


def test_what_no_kernel_multiplies_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plm.affine.blocked_kernel", lambda: None)
    with pytest.raises(ValueError, match=r"no products in torch\.int8"):
        resident(torch.zeros(4, 64), None, torch.int8)
    assert isinstance(resident(torch.zeros(4, 64).half(), None, torch.float32), Linear)


def test_a_kind_that_is_wrong_is_left_out(
    run: BlockedKernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(plm.__file__).parent / "native"
    assert blocked_works(run)
    right = BlockedKernel.__call__
    monkeypatch.setattr(
        BlockedKernel,
        "__call__",
        lambda *a: right(*a) * (1 if a[2].dtype == torch.float16 else 1.1),
    )
    assert blocked_works(run) == (run.dtypes == {torch.float16})
    found = chosen_blocked.__wrapped__(folder)
    assert found is not None
    assert found.dtypes == {torch.float16}
    if torch.int8 in run.dtypes:
        assert "weights in int8 give wrong results" in caplog.text


def test_without_the_instructions_there_is_no_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen_blocked.__wrapped__(tmp_path) is None
    monkeypatch.setattr("plm.native.loading._library", lambda _: ctypes.CDLL(None))
    monkeypatch.setattr("plm.native.loading.blocked_kinds", lambda _: [])
    assert chosen_blocked.__wrapped__(tmp_path) is None


def test_a_base_answers_about_the_same_in_each_type(
    run: BlockedKernel, bert: Tiny, wide: Path, dtype: torch.dtype
) -> None:
    products = torch.float32 if dtype == torch.float16 else dtype
    if products == torch.bfloat16 and has_amx() and not run.by_tiles(products):
        pytest.skip("bfloat16 is left to PyTorch's matrix units here")
    exact = plm.load_base(wide, device="cpu")
    base = plm.load_base(wide, device="cpu", dtype=products)
    assert (base.products, base.dtype, base.digest) == (products, torch.float32, exact.digest)
    rows = [prompt.row for prompt in bert.prompts]
    expected = plm.Engine(exact).logits(rows, [None] * len(rows))
    found = plm.Engine(base).logits(rows, [None] * len(rows))
    assert torch.corrcoef(torch.stack([expected.flatten(), found.flatten()]))[0, 1] > 0.998
    # The model of PyTorch says that float32 is float32.
    if products == torch.float32:
        without = plm.Engine(exact, native=False).logits(rows, [None] * len(rows))
        torch.testing.assert_close(found, without, atol=1e-5, rtol=1e-5)


def test_masks_are_applied_as_their_bits_lie(
    run: BlockedKernel, bert: Tiny, wide: Path, mask_of: Callable[..., RelationMask]
) -> None:
    """No copy of W * M is made, however often a mask is asked for; the answers are the same."""
    base = plm.load_base(wide, device="cpu")
    assert isinstance(base.layers[-1].query, BlockedLinear)
    masks = [combine_masks([mask_of(base, seed, (2, 3))]) for seed in (1, 2)]
    engine, dense = plm.Engine(base), plm.Engine(base, native=False)
    rows = [prompt.row for prompt in bert.prompts]
    for asked in ([masks[0]] * 5, [*masks, None, *masks], [masks[0]] * 5):
        torch.testing.assert_close(
            engine.logits(rows, asked), dense.logits(rows, asked), atol=1e-5, rtol=1e-5
        )
    stats = engine.cache.stats()
    assert (stats.entries, stats.bytes, stats.hits, stats.misses) == (0, 0, 4, 0)
    assert dense.cache.stats().entries > 0
