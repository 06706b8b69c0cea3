"""The one function through which every linear of a transformer layer goes.

It is the seam for native kernels: a call carries the rows of a whole mixed batch, already sorted
by mask set, and the weights of each set, so a kernel may do all sets in one launch. What is here
is the reference that such a kernel is compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights of an affine map.

    Attributes:
        weight: (out, in).
        bias: (out,), or None.
    """

    weight: Tensor
    bias: Tensor | None


def linear(states: Tensor, parts: Sequence[Linear], sizes: Sequence[int]) -> Tensor:
    """Apply `parts[i]` to the i-th block of `sizes[i]` sentences; (B, ..., in) -> (B, ..., out).

    With a single part it applies to all, and `sizes` is not looked at. Differentiable.
    """
    if len(parts) == 1:
        return functional.linear(states, parts[0].weight, parts[0].bias)
    blocks = torch.split(states, list(sizes))
    return torch.cat(
        [
            functional.linear(block, part.weight, part.bias)
            for block, part in zip(blocks, parts, strict=True)
        ]
    )
