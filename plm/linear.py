"""The one function through which every linear of a transformer layer goes.

It is the seam for native kernels: a call carries the rows of a whole mixed batch, already sorted
by mask set, and the weights of each set, so that a kernel does all sets in one launch
(`plm.native`). What is here besides is the reference that the kernel is compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plm.native import kernel
from plm.unpacking import masked_weight

# Rows of a mask set, in the mean, from which a product of two dense matrices is no slower than the
# native kernel: torch packs the weight anew at each call, which many rows repay.
_MANY_ROWS = 256


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights of an affine map.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
    """

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, eq=False)
class MaskedLinear:
    """An affine map whose matrix W * M is made when it is needed, and not kept.

    Attributes:
        base: the affine map without a mask.
        bits: uint8 (out, ceil(in / 8)), M packed little-endian.
        native: whether the native kernel may apply it.
    """

    base: Linear
    bits: NDArray[np.uint8]
    native: bool = True

    @property
    def bias(self) -> Tensor | None:
        """(out,), or None."""
        return self.base.bias

    @property
    def weight(self) -> Tensor:
        """W * M (out, in), good until this thread makes the next one."""
        return masked_weight(self.base.weight, self.bits)


AnyLinear = Linear | MaskedLinear


def linear(states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int]) -> Tensor:
    """Apply `parts[i]` to the i-th block of `sizes[i]` rows; (N, in) -> (N, out).

    With a single part it applies to all, and `sizes` is not looked at. Differentiable where all
    parts are `Linear`.
    """
    if not torch.is_grad_enabled() and (output := _native(states, parts, sizes)) is not None:
        return output
    if len(parts) == 1:
        return functional.linear(states, parts[0].weight, parts[0].bias)
    blocks = zip(states.split(list(sizes)), parts, strict=True)
    if torch.is_grad_enabled():
        return torch.cat([functional.linear(block, p.weight, p.bias) for block, p in blocks])
    output = None
    # Each product is written where it belongs: joining them would copy all states once more.
    start = 0
    for block, part in blocks:
        weight = part.weight
        if output is None:
            output = states.new_empty(len(states), len(weight))
        place = output[start : start + len(block)]
        if part.bias is None:
            torch.mm(block, weight.t(), out=place)
        else:
            torch.addmm(part.bias, block, weight.t(), out=place)
        start += len(block)
    if output is None:
        raise ValueError("there is nothing to apply")
    return output


def _native(states: Tensor, parts: Sequence[AnyLinear], sizes: Sequence[int]) -> Tensor | None:
    """The same by the native kernel; None where it is not the one to do it."""
    if len(states) > _MANY_ROWS * len(parts) or (run := kernel()) is None:
        return None
    bases = [part.base if isinstance(part, MaskedLinear) else part for part in parts]
    base = bases[0]
    if any(other is not base for other in bases) or not run.takes(states, base.weight):
        return None
    if not all(part.native for part in parts if isinstance(part, MaskedLinear)):
        return None
    bits = [part.bits if isinstance(part, MaskedLinear) else None for part in parts]
    return run(states, base.weight, base.bias, bits, [len(states)] if len(parts) == 1 else sizes)
