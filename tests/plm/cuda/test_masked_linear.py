"""The Triton kernel, in Triton's interpreter on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import plm
import plm.linear as linear_module
from masks import pack_bits

pytest.importorskip("triton", reason="Triton is not installed")

ROOT = Path(__file__).parents[3]
GPU = torch.cuda.is_available()

from plm.cuda import CudaMaskedLinear, cuda_kernel  # noqa: E402
from plm.cuda.linear import _on_device, _tiles, linear_works  # noqa: E402
from plm.cuda.masked_linear import masked_linear  # noqa: E402

if TYPE_CHECKING:
    from tests.plm.conftest import Tiny

DEVICE = torch.device("cuda" if GPU else "cpu")


@pytest.fixture
def kernel() -> CudaMaskedLinear:
    return CudaMaskedLinear(masked_linear)


def case(
    width: int, depth: int, sizes: Sequence[int], unmasked: int | None, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[torch.Tensor | None], torch.Tensor]:
    """States, weight, bias and bits, and the product in double precision."""
    random = np.random.default_rng(width + depth + len(sizes))
    generator = torch.Generator().manual_seed(depth)
    states = torch.randn(sum(sizes), depth, generator=generator).to(dtype)
    weight = torch.randn(width, depth, generator=generator).to(dtype)
    bias = torch.randn(width, generator=generator).to(dtype)
    bits: list[torch.Tensor | None] = []
    blocks = []
    for place, block in enumerate(states.split(list(sizes))):
        keep = random.random((width, depth)) > 0.4
        if place == unmasked:
            keep[:] = True
            bits.append(None)
        else:
            bits.append(torch.from_numpy(pack_bits(keep)).to(DEVICE))
        blocks.append(block.double() @ (weight.double() * torch.from_numpy(keep)).t())
    expected = torch.cat(blocks) + bias.double()
    return states.to(DEVICE), weight.to(DEVICE), bias.to(DEVICE), bits, expected


@pytest.mark.parametrize(("width", "depth"), [(1, 8), (50, 24), (64, 64), (130, 100), (32, 384)])
@pytest.mark.parametrize(
    ("sizes", "unmasked"), [((1,), None), ((5, 0, 17, 2), None), ((7, 70), 1), ((130, 65), 0)]
)
def test_it_is_the_product_with_the_masked_weights(
    kernel: CudaMaskedLinear, width: int, depth: int, sizes: tuple[int, ...], unmasked: int | None
) -> None:
    states, weight, bias, bits, expected = case(width, depth, sizes, unmasked, torch.float32)
    found = kernel(states, weight, bias, bits, sizes).cpu()
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)
    plain = kernel(states, weight, None, bits, sizes).cpu() + bias.cpu()
    torch.testing.assert_close(plain, found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        pytest.param(
            torch.bfloat16,
            marks=pytest.mark.skipif(
                not GPU, reason="Triton's interpreter multiplies the bits of bfloat16 as integers"
            ),
        ),
    ],
)
def test_half_precision(kernel: CudaMaskedLinear, dtype: torch.dtype) -> None:
    states, weight, bias, bits, expected = case(50, 72, (3, 20), 0, dtype)
    found = kernel(states, weight, bias, bits, (3, 20))
    assert found.dtype == dtype
    # The sums are made in fp32; what is left is the rounding of the result.
    tolerance = 2.0**-10 if dtype == torch.float16 else 2.0**-7
    torch.testing.assert_close(found.cpu().double(), expected, atol=tolerance, rtol=tolerance)


def test_the_same_sets_and_sizes_are_told_to_the_device_once(kernel: CudaMaskedLinear) -> None:
    states, weight, bias, bits, expected = case(20, 40, (3, 18, 2), 1, torch.float32)
    before = [made.cache_info().misses for made in (_tiles, _on_device)]
    for _ in range(3):
        found = kernel(states, weight, bias, bits, (3, 18, 2)).cpu()
        torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=1e-4)
    after = [made.cache_info().misses for made in (_tiles, _on_device)]
    assert [later - earlier for earlier, later in zip(before, after, strict=True)] == [1, 1]
    # Other masks at the same sizes are others.
    other = kernel(states, weight, bias, [bits[2], *bits[1:]], (3, 18, 2)).cpu()
    assert not torch.allclose(other[:3], found[:3])
    torch.testing.assert_close(other[3:], found[3:])


def test_no_rows_give_no_rows(kernel: CudaMaskedLinear) -> None:
    states, weight, bias, bits, _ = case(16, 16, (0, 0), None, torch.float32)
    assert kernel(states, weight, bias, bits, (0, 0)).shape == (0, 16)


def test_sizes_and_bits_must_go_with_the_states(kernel: CudaMaskedLinear) -> None:
    states, weight, bias, bits, _ = case(16, 16, (3, 2), None, torch.float32)
    with pytest.raises(ValueError, match="do not go with"):
        kernel(states, weight, bias, bits, (3, 1))
    with pytest.raises(ValueError, match="do not go with"):
        kernel(states, weight, bias, [bits[0], torch.zeros(16, 3, dtype=torch.uint8)], (3, 2))


def test_it_is_tried_before_it_is_used(kernel: CudaMaskedLinear) -> None:
    assert linear_works(kernel, DEVICE)

    class Wrong(CudaMaskedLinear):
        def __call__(self, *arguments: object) -> torch.Tensor:  # type: ignore[override]
            return kernel(*arguments) + 1  # type: ignore[arg-type]

    assert not linear_works(Wrong(masked_linear), DEVICE)


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_without_cuda_there_is_none() -> None:
    assert cuda_kernel() is None


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_a_kernel_that_does_not_compile_is_left_out() -> None:
    # As on a machine that has CUDA but not what Triton needs.
    code = (
        "import logging, torch; logging.basicConfig(); torch.cuda.is_available = lambda: True;"
        "from plm.cuda import cuda_kernel; assert cuda_kernel() is None"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be used" in done.stderr
    assert "PyTorch serves in its place" in done.stderr


@pytest.mark.skipif(not GPU, reason="there is no GPU here")
def test_on_a_gpu_it_is_used() -> None:
    assert cuda_kernel() is not None


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_a_mixed_batch_goes_through_it_in_one_launch_for_each_linear(
    kernel: CudaMaskedLinear, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    # The way that a GPU takes, with tensors of the CPU in its place.
    launches = []

    def on_cuda(
        states: torch.Tensor, parts: Sequence[plm.AnyLinear], sizes: Sequence[int], biased: bool
    ) -> torch.Tensor | None:
        product = linear_module._on_cuda(states, parts, sizes, biased)
        launches.append(product is not None)
        return product

    monkeypatch.setattr(CudaMaskedLinear, "takes", lambda *_: True)
    monkeypatch.setattr(CudaMaskedLinear, "dense_from", lambda *_: 256)
    monkeypatch.setattr(linear_module, "cuda_kernel", lambda: kernel)
    monkeypatch.setattr(linear_module, "_native", on_cuda)
    rows = [prompt.row for prompt in tiny.prompts]
    masks = [tiny.combined(1), None, tiny.combined(2, (2, 4)), tiny.union(1, 3), tiny.combined(1)]
    found = plm.Engine(tiny.base).logits(rows, masks)
    monkeypatch.undo()
    expected = plm.Engine(tiny.base, native=False).logits(rows, masks)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # Six linears of each of the three layers that a mask covers.
    assert sum(launches) == 18
