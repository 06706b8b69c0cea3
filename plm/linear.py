"""The one function through which every linear of a transformer layer goes.

It is the seam for native kernels: a call carries the rows of a whole mixed batch, already sorted
by mask set, and the weights of each set, so that a kernel does all sets in one launch
(`plm.native`). What is here besides is the reference that the kernel is compared with.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from plm.affine import (
    AnyLinear,
    BlockedLinear,
    GroupedLinear,
    MaskedLinear,
    PlainLinear,
    PlannedLinear,
)
from plm.cuda import cuda_kernel
from plm.native import MaskedLinearKernel, blocked_kernel, kernel
from plm.precision import has_amx

# Rows of a mask set, in the mean, from which a product of two dense matrices is no slower than the
# native kernel: torch packs the weight anew at each call, which many rows repay.
_MANY_ROWS = 256


def linear(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], *, biased: bool = True
) -> Tensor:
    """Apply `parts[i]` to the i-th block of `sizes[i]` rows; (N, in) -> (N, out).

    With a single part it applies to all, and `sizes` is not looked at, but by a `GroupedLinear`:
    they are those of its mask sets. Differentiable where no part is under a mask. Without `biased`
    it is the product alone: whoever reads it adds the bias.
    """
    if not torch.is_grad_enabled() and (out := _native(states, parts, sizes, biased)) is not None:
        return out
    if parts and isinstance(parts[0], GroupedLinear):
        raise ValueError("masks told by addresses need the kernel of blocks, and no gradient")
    if len(parts) == 1:
        return functional.linear(states, parts[0].weight, parts[0].bias if biased else None)
    if torch.is_grad_enabled():
        blocks = zip(states.split(list(sizes)), parts, strict=True)
        return torch.cat(
            [functional.linear(block, p.weight, p.bias if biased else None) for block, p in blocks]
        )
    if not parts:
        raise ValueError("there is nothing to apply")
    output = states.new_empty(len(states), parts[0].shape[0])
    start = 0
    for run, run_sizes in _runs(parts, sizes):
        end = start + sum(run_sizes)
        _apply_run(states[start:end], run, run_sizes, output[start:end], biased)
        start = end
    return output


def _base(part: AnyLinear) -> PlainLinear:
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
    kernels = any(isinstance(part, MaskedLinear | BlockedLinear) for part in parts)
    if kernels and (product := _native(states, parts, sizes, biased)) is not None:
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
    """The same by a native kernel; None where none is the one to do it."""
    if states.is_cuda:
        return _on_cuda(states, parts, sizes, biased)
    if not parts or (base := _common_base(parts)) is None:
        return None
    if isinstance(base, BlockedLinear):
        return _by_blocks(states, base, parts, sizes, biased)
    bits = [part if isinstance(part, MaskedLinear) else None for part in parts]
    sizes = [states.shape[0]] if len(parts) == 1 else sizes
    bias = base.bias if biased else None
    run = kernel()
    if run is None or not run.takes(states, base.weight) or _left_to_torch(states, parts, run):
        return None
    return run(states, base.weight, bias, bits, sizes, half=base.half)


def _by_blocks(
    states: Tensor,
    base: BlockedLinear,
    parts: Sequence[AnyLinear],
    sizes: Sequence[int],
    biased: bool,
) -> Tensor | None:
    blocks = blocked_kernel()
    if blocks is None or states.dtype != torch.float32:
        return None
    bias = base.bias if biased else None
    if isinstance(base, GroupedLinear):
        return blocks.at(states, base.blocked, bias, base.where, tuple(sizes))
    bits = [part if isinstance(part, MaskedLinear) else None for part in parts]
    sizes = [states.shape[0]] if len(parts) == 1 else sizes
    return blocks(states, base.blocked, bias, bits, sizes)


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


def _common_base(parts: Sequence[AnyLinear]) -> PlainLinear | None:
    """What all parts are of, if kernels take the bits of every part; None if not."""
    base = _base(parts[0])
    # One loop, since a pass of many sets spends a good part of its time here.
    for part in parts:
        if part is not base and not (
            isinstance(part, MaskedLinear) and part.base is base and part.from_bits
        ):
            return None
    return base


def _on_cuda(
    states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int], biased: bool
) -> Tensor | None:
    """The same by the Triton kernel, for masks alone: torch's own products are hard to beat."""
    if not parts or (run := cuda_kernel()) is None:
        return None
    if isinstance(part := parts[0], PlannedLinear):
        return run.planned(states, part.weight, part.bias if biased else None, part.plan)
    if not any(isinstance(part, MaskedLinear) for part in parts):
        return None
    if (base := _common_base(parts)) is None or not run.takes(states, base.weight):
        return None
    if states.shape[0] >= run.dense_from(base.weight) * len(parts):
        return None
    bits = [part.device_bits if isinstance(part, MaskedLinear) else None for part in parts]
    sizes = [states.shape[0]] if len(parts) == 1 else sizes
    return run(states, base.weight, base.bias if biased else None, bits, sizes)
