"""The one function through which every linear of a transformer layer goes.

It is the seam for native kernels: a call carries the rows of a whole mixed batch, already sorted
by mask set, and the weights of each set, so a kernel may do all sets in one launch. What is here
is the reference that such a kernel is compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plm.unpacking import masked_weight


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
    """

    base: Linear
    bits: NDArray[np.uint8]

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
    if len(parts) == 1:
        return functional.linear(states, parts[0].weight, parts[0].bias)
    blocks = zip(states.split(list(sizes)), parts, strict=True)
    if torch.is_grad_enabled():
        return torch.cat([functional.linear(block, p.weight, p.bias) for block, p in blocks])
    # Each product is written where it belongs: joining them would copy all states once more.
    output: Tensor | None = None
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
