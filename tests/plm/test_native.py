"""The native kernel beside its twin in PyTorch, and the engine with and without it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
from masks import pack_bits
from plm.linear import linear
from plm.native import MaskedLinearKernel, kernel

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

needs_kernel = pytest.mark.skipif(
    kernel() is None, reason="the native kernel is not built, or this processor has no AVX2"
)


@pytest.fixture
def run() -> MaskedLinearKernel:
    built = kernel()
    assert built is not None
    return built


def _case(
    width: int, depth: int, sizes: Sequence[int], unmasked: int | None = None, *, bias: bool = True
) -> tuple[torch.Tensor, plm.Linear, list[plm.AnyLinear]]:
    random = np.random.default_rng(width * depth + len(sizes))
    generator = torch.Generator().manual_seed(depth)
    base = plm.Linear(
        torch.randn(width, depth, generator=generator),
        torch.randn(width, generator=generator) if bias else None,
    )
    parts: list[plm.AnyLinear] = [
        base
        if place == unmasked
        else plm.MaskedLinear(base, pack_bits(random.random((width, depth)) > 0.4))
        for place in range(len(sizes))
    ]
    return torch.randn(sum(sizes), depth, generator=generator), base, parts


def _expected(
    states: torch.Tensor, parts: Sequence[plm.AnyLinear], sizes: Sequence[int]
) -> torch.Tensor:
    blocks = [
        torch.nn.functional.linear(block.double(), part.weight.double().clone())
        for block, part in zip(states.split(list(sizes)), parts, strict=True)
    ]
    bias = parts[0].bias
    whole = torch.cat(blocks)
    return (whole if bias is None else whole + bias.double()).float()


@needs_kernel
@pytest.mark.parametrize(
    ("width", "depth"),
    # Fewer columns than a tile, no multiple of a panel, and more depth than a panel has.
    [(1, 8), (3, 16), (32, 64), (50, 24), (384, 384), (17, 1544), (129, 3200)],
)
@pytest.mark.parametrize(
    ("sizes", "unmasked"),
    [((1,), None), ((5, 0, 1, 2, 3, 4), None), ((7, 6), 1), ((1, 1), 0), ((2, 30, 3), 2)],
)
def test_it_is_the_product_with_the_masked_weights(
    run: MaskedLinearKernel,
    width: int,
    depth: int,
    sizes: tuple[int, ...],
    unmasked: int | None,
) -> None:
    for bias in (True, False):
        states, base, parts = _case(width, depth, sizes, unmasked, bias=bias)
        bits = [part.bits if isinstance(part, plm.MaskedLinear) else None for part in parts]
        found = run(states, base.weight, base.bias, bits, sizes)
        scale = depth**0.5
        torch.testing.assert_close(
            found / scale, _expected(states, parts, sizes) / scale, atol=1e-5, rtol=1e-5
        )


@needs_kernel
def test_linear_takes_it_and_gives_what_its_twin_gives() -> None:
    sizes = (3, 4, 2)
    states, base, parts = _case(40, 48, sizes, unmasked=1)
    twins: list[plm.AnyLinear] = [
        plm.MaskedLinear(base, part.bits, native=False)
        if isinstance(part, plm.MaskedLinear)
        else part
        for part in parts
    ]
    with torch.inference_mode():
        native, twin = linear(states, parts, sizes), linear(states, twins, sizes)
        alone = linear(states[:3], parts[:1], (3,))
    torch.testing.assert_close(native, twin, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone, twin[:3], atol=1e-5, rtol=1e-5)
    assert not torch.equal(native, torch.zeros_like(native))


@needs_kernel
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_sums(run: MaskedLinearKernel, threads: int) -> None:
    states, base, parts = _case(100, 64, (9, 5))
    bits = [part.bits for part in parts if isinstance(part, plm.MaskedLinear)]
    before = torch.get_num_threads()
    expected = run(states, base.weight, base.bias, bits, (9, 5))
    try:
        torch.set_num_threads(threads)
        assert torch.equal(run(states, base.weight, base.bias, bits, (9, 5)), expected)
    finally:
        torch.set_num_threads(before)


@needs_kernel
def test_it_says_what_it_takes(run: MaskedLinearKernel) -> None:
    states, weight = torch.zeros(2, 16), torch.zeros(4, 16)
    assert run.takes(states, weight)
    assert not run.takes(states.bfloat16(), weight.bfloat16())
    assert not run.takes(torch.zeros(2, 12), torch.zeros(4, 12))
    assert not run.takes(states, torch.zeros(16, 4).t())
    bits = np.zeros((4, 2), np.uint8)
    with pytest.raises(ValueError, match="do not go with"):
        run(states, weight, None, [bits], (3,))
    with pytest.raises(ValueError, match="do not go with"):
        run(states, weight, None, [bits[:3]], (2,))


def test_answers_are_the_same_with_and_without_it(tiny: Tiny) -> None:
    rows = [prompt.row for prompt in tiny.prompts] * 2
    masks = [tiny.combined(1), None, tiny.combined(2, (2, 4)), tiny.union(1, 3), tiny.combined(1)]
    with_kernel = plm.Engine(tiny.base).logits(rows, masks * 2)
    without = plm.Engine(tiny.base, native=False).logits(rows, masks * 2)
    torch.testing.assert_close(with_kernel, without, atol=1e-5, rtol=1e-5)


def test_a_kernel_that_cannot_be_loaded_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_masked_linear.broken.so").write_bytes(b"no library")
    monkeypatch.setattr("plm.native._FOLDER", tmp_path)
    assert kernel.__wrapped__() is None


def test_a_processor_that_cannot_run_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Library:
        relata_supported = staticmethod(lambda: 0)

    (tmp_path / "_masked_linear.so").touch()
    monkeypatch.setattr("plm.native._FOLDER", tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    assert kernel.__wrapped__() is None
