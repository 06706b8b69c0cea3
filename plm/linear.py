"""The one function through which every linear of a transformer layer goes.

It is the seam for native kernels: a call carries the rows of a whole mixed batch, already sorted
by mask set, and the weights of each set, so that a kernel does all sets in one launch
(`plm.native`). What is here besides is the reference that the kernel is compared with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plm.cuda import CudaMaskedLinear, cuda_kernel
from plm.native import BlockedWeight, MaskedLinearKernel, blocked_kernel, kernel
from plm.precision import has_amx
from plm.unpacking import masked_weight, on_device

# Rows of a mask set, in the mean, from which a product of two dense matrices is no slower than the
# native kernel: torch packs the weight anew at each call, which many rows repay.
_MANY_ROWS = 256

# Types that the kernel of blocks alone computes products of float32 states and weights in.
BLOCKED = (torch.bfloat16, torch.int8)


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights of an affine map.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
        half: the weight in float16 where that has the same values and the native kernel reads it,
            in half the time; None elsewhere.
        blocked: the weight in the order of the kernel of blocks, which then does the products of
            float32 states; None elsewhere.
    """

    weight: Tensor
    bias: Tensor | None
    half: Tensor | None = None
    blocked: BlockedWeight | None = None

    @property
    def in_blocks(self) -> bool:
        """Whether the kernel of blocks does its products."""
        return self.blocked is not None


@dataclass(frozen=True, eq=False)
class MaskedLinear:
    """An affine map whose matrix W * M is made when it is needed, and not kept.

    Attributes:
        base: the affine map without a mask.
        bits: uint8 (out, ceil(in / 8)), M packed little-endian; at 8 bits a weight (out, in), the
            values of which M is a 255th.
        native: whether the native kernel may apply it where it can.
        bits_per_weight: 1 or 8.
    """

    base: Linear
    bits: NDArray[np.uint8]
    native: bool = True
    bits_per_weight: int = 1

    @cached_property
    def device_bits(self) -> Tensor:
        """The bits on the device of the weights; they stay there as long as this does."""
        return on_device(self.bits, self.base.weight.device)

    @property
    def in_blocks(self) -> bool:
        """Whether the kernel of blocks may do its products."""
        return self.from_bits and self.base.in_blocks

    @property
    def from_bits(self) -> bool:
        """Whether the native kernel may apply it: it knows one bit a weight alone."""
        return self.native and self.bits_per_weight == 1

    @property
    def bias(self) -> Tensor | None:
        """(out,), or None."""
        return self.base.bias

    @property
    def weight(self) -> Tensor:
        """W * M (out, in), good until this thread makes the next one."""
        return masked_weight(self.base.weight, self.bits, self.bits_per_weight)


AnyLinear = Linear | MaskedLinear


def linear(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], *, biased: bool = True
) -> Tensor:
    """Apply `parts[i]` to the i-th block of `sizes[i]` rows; (N, in) -> (N, out).

    With a single part it applies to all, and `sizes` is not looked at. Differentiable where all
    parts are `Linear`. Without `biased` it is the product alone: whoever reads it adds the bias.
    """
    if not torch.is_grad_enabled() and (out := _native(states, parts, sizes, biased)) is not None:
        return out
    if len(parts) == 1:
        return functional.linear(states, parts[0].weight, parts[0].bias if biased else None)
    if torch.is_grad_enabled():
        blocks = zip(states.split(list(sizes)), parts, strict=True)
        return torch.cat(
            [functional.linear(block, p.weight, p.bias if biased else None) for block, p in blocks]
        )
    if not parts:
        raise ValueError("there is nothing to apply")
    output = states.new_empty(len(states), len(_base(parts[0]).weight))
    start = 0
    for run, run_sizes in _runs(parts, sizes):
        end = start + sum(run_sizes)
        _apply_run(states[start:end], run, run_sizes, output[start:end], biased)
        start = end
    return output


def _base(part: AnyLinear) -> Linear:
    return part.base if isinstance(part, MaskedLinear) else part


def _runs(
    parts: Sequence[AnyLinear], sizes: Sequence[int]
) -> Iterator[tuple[list[AnyLinear], list[int]]]:
    """Neighbours that the kernel can do in one call, with their sizes; others are alone."""

    def together(pair: tuple[AnyLinear, int]) -> int:
        part = pair[0]
        return id(part if isinstance(part, MaskedLinear) and not part.from_bits else _base(part))

    for _, run in groupby(zip(parts, sizes, strict=True), together):
        pairs = list(run)
        yield [part for part, _ in pairs], [size for _, size in pairs]


def _apply_run(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], output: Tensor, biased: bool
) -> None:
    """Write the product of one of `_runs`, (N, in) -> (N, out), into `output`."""
    masked = any(isinstance(part, MaskedLinear) for part in parts)
    if masked and (product := _native(states, parts, sizes, biased)) is not None:
        output.copy_(product)
        return
    # Each product is written where it belongs: joining them would copy all states once more.
    blocks = zip(states.split(list(sizes)), output.split(list(sizes)), parts, strict=True)
    for block, place, part in blocks:
        weight = part.weight.t()
        if part.bias is None or not biased:
            torch.mm(block, weight, out=place)
        else:
            torch.addmm(part.bias, block, weight, out=place)


def _native(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], biased: bool
) -> Tensor | None:
    """The same by the native kernel; None where it is not the one to do it."""
    if states.is_cuda:
        return _on_cuda(states, parts, sizes, biased)
    if not parts or (run := kernel()) is None:
        return None
    if (base := _common_base(states, parts, run)) is None:
        return None
    blocks = None if states.dtype != torch.float32 or base.blocked is None else blocked_kernel()
    if blocks is None and _left_to_torch(states, parts, run):
        return None
    bits = [part.bits if isinstance(part, MaskedLinear) else None for part in parts]
    sizes = [states.shape[0]] if len(parts) == 1 else sizes
    bias = base.bias if biased else None
    if blocks is not None and base.blocked is not None:
        return blocks(states, base.blocked, bias, bits, sizes)
    return run(states, base.weight, bias, bits, sizes, half=base.half)


def _left_to_torch(states: Tensor, parts: Sequence[AnyLinear], run: MaskedLinearKernel) -> bool:
    """Whether PyTorch's products of dense matrices are no slower on a CPU."""
    half = states.dtype == torch.bfloat16
    if half and not has_amx():
        # Without instructions for it, PyTorch computes bfloat16 several times slower than float32.
        return False
    if states.shape[0] > _MANY_ROWS * len(parts):
        return True
    unmasked = not any(isinstance(part, MaskedLinear) for part in parts)
    return unmasked and (half or not run.wide)


def _common_base(
    states: Tensor, parts: Sequence[AnyLinear], run: MaskedLinearKernel | CudaMaskedLinear
) -> Linear | None:
    """What all parts are of, if a kernel takes it and the bits of every part; None if not."""
    base = _base(parts[0])
    if any(_base(other) is not base for other in parts) or not run.takes(states, base.weight):
        return None
    if not all(part.from_bits for part in parts if isinstance(part, MaskedLinear)):
        return None
    return base


def _on_cuda(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], biased: bool
) -> Tensor | None:
    """The same by the Triton kernel, for masks alone: torch's own products are hard to beat."""
    masked = any(isinstance(part, MaskedLinear) for part in parts)
    if not masked or states.shape[0] > _MANY_ROWS * len(parts) or (run := cuda_kernel()) is None:
        return None
    if (base := _common_base(states, parts, run)) is None:
        return None
    bits = [part.device_bits if isinstance(part, MaskedLinear) else None for part in parts]
    sizes = [states.shape[0]] if len(parts) == 1 else sizes
    return run(states, base.weight, base.bias if biased else None, bits, sizes)


def resident(weight: Tensor, bias: Tensor | None, products: torch.dtype) -> Linear:
    """An affine map as it is held for products in a type: its own, or of float32 one of `BLOCKED`.

    Published weights often come in float16; they are held in float32 for what computes in it, and
    in float16 besides where that has the same values: half as much to read.

    Raises:
        ValueError: no kernel here has products in that type, or none of a matrix of this depth.
    """
    blocks = blocked_kernel()
    if products in BLOCKED and weight.dtype == torch.float32:
        if blocks is None:
            raise ValueError(f"this processor has no products in {products}")
        return Linear(weight, bias, blocked=blocks.pack(weight, products))
    run = kernel()
    if run is None or weight.dtype != torch.float32 or not run.takes(weight, weight):
        return Linear(weight, bias)
    half = weight.half()
    if not torch.equal(half.float(), weight):
        return Linear(weight, bias)
    if blocks is not None and blocks.takes(weight, torch.float16):
        return Linear(weight, bias, blocked=blocks.pack(weight, torch.float16))
    return Linear(weight, bias, half if run.reads_half else None)
