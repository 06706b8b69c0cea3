"""What the kernels of linears are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from masks import pack_bits
from plm.native import PackedBits


@dataclass(frozen=True)
class Drawn:
    """A product of blocks of rows, every third of which is under no mask."""

    weight: torch.Tensor
    bias: torch.Tensor
    states: torch.Tensor
    kept: list[torch.Tensor | None]

    @classmethod
    def of(cls, width: int, depth: int, sizes: Sequence[int]) -> "Drawn":
        generator = torch.Generator().manual_seed(depth + width)
        return cls(
            torch.randn(width, depth, generator=generator),
            torch.randn(width, generator=generator),
            torch.randn(sum(sizes), depth, generator=generator) * 3,
            [
                None if place % 3 == 2 else torch.rand(width, depth, generator=generator) > 0.4
                for place in range(len(sizes))
            ],
        )

    @property
    def bits(self) -> list[PackedBits | None]:
        """The masks as kernels are given them."""
        return [None if part is None else PackedBits(pack_bits(part.numpy())) for part in self.kept]


def rounded(states: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """States as products in a type read them, float64."""
    if dtype in (torch.float32, torch.float16):
        return states.double()
    if dtype == torch.bfloat16:
        return states.bfloat16().double()
    largest = states.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    # By one quotient, as the kernel does; PyTorch's 127 / x is 127 times the reciprocal of x.
    scale = torch.full_like(largest, 127) / largest
    return (states * scale).round().double() * (largest / 127).double()


def masked_product(
    states: torch.Tensor,
    dense: torch.Tensor,
    bias: torch.Tensor,
    *,
    kept: Sequence[torch.Tensor | None],
    sizes: Sequence[int],
    dtype: torch.dtype,
) -> torch.Tensor:
    """X (W * M)^T + b of blocks of rows, each under one of `kept`; sums in double precision."""
    blocks = rounded(states, dtype).split(list(sizes))
    weights = [dense if part is None else dense * part for part in kept]
    products = [x @ w.double().t() for x, w in zip(blocks, weights, strict=True)]
    return (torch.cat(products) + bias.double()).float()
