"""Calls the Triton kernel of masked linears; `plm.linear` has its twin in PyTorch."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, product
from typing import Any

import torch
from torch import Tensor

from plm.cuda.choice import dense_from
from plm.cuda.launch import TYPES, launches
from plm.unpacking import spread_bits

logger = logging.getLogger(__name__)

_COLUMNS, _DEPTH = 64, 64
# Tensor cores take 16 rows at the least; more fill them better where a set has them.
_FEW_ROWS, _MANY_ROWS = 16, 64


@dataclass(frozen=True, eq=False)
class LaunchPlan:
    """What a launch is told of its mask sets, by tensors on the device.

    Attributes:
        tiles: integers (tiles, 3): set, first row, end of the set's rows; a tile whose row is no
            less than its end is empty.
        addresses: int64 (sets,), where the bits of each set lie; 0 leaves the weight as it is.
        height: rows of a tile.
    """

    tiles: Tensor
    addresses: Tensor
    height: int


class CudaMaskedLinear:
    """Y = X (W * M)^T + b for rows of many mask sets in one launch, from the packed bits."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._dense_from: dict[tuple[torch.Size, torch.dtype], int] = {}

    def takes(self, states: Tensor, weight: Tensor) -> bool:
        """Whether it can multiply these: floating-point, of one type, on the current GPU."""
        return launches(states) and states.dtype == weight.dtype and weight.is_contiguous()

    def dense_from(self, weight: Tensor) -> int:
        """Rows of a mask set from which a dense W * M is faster; measured once for each shape."""
        key = (weight.shape, weight.dtype)
        if key not in self._dense_from:
            self._dense_from[key] = dense_from(self, weight)
            logger.info(
                "a weight %s in %s: masks are applied from their bits below %d rows a mask",
                tuple(weight.shape),
                weight.dtype,
                self._dense_from[key],
            )
        return self._dense_from[key]

    def __call__(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        bits: Sequence[Tensor | None],
        sizes: Sequence[int],
    ) -> Tensor:
        """Apply the mask `bits[i]` to the i-th block of `sizes[i]` rows of (N, in) -> (N, out).

        Args:
            states: (N, in); N is the sum of the sizes.
            weight: (out, in), common to all blocks.
            bias: (out,), or None.
            bits: uint8 (out, ceil(in / 8)) each, contiguous, on the device of the states; None
                leaves the weight as it is.
            sizes: rows of each block.

        Raises:
            ValueError: sizes or bits do not go with the states.
        """
        rows, (width, depth) = states.shape[0], weight.shape
        shape = (width, (depth + 7) // 8)
        if sum(sizes) != rows or any(
            part is not None and (part.shape != shape or part.device != states.device)
            for part in bits
        ):
            raise ValueError(f"sizes {tuple(sizes)} or bits do not go with {tuple(states.shape)}")
        if not rows:
            return states.new_empty(rows, width)
        height = tile_height(rows, len(sizes))
        addresses = tuple(0 if part is None else part.data_ptr() for part in bits)
        plan = LaunchPlan(
            _tiles(tuple(sizes), height, states.device),
            _on_device(addresses, states.device),
            height,
        )
        return self.planned(states, weight, bias, plan)

    def planned(
        self, states: Tensor, weight: Tensor, bias: Tensor | None, plan: LaunchPlan
    ) -> Tensor:
        """The same by a plan, which is not checked; rows that no tile covers are left undefined."""
        states = states.contiguous()
        width, depth = weight.shape
        output = states.new_empty(states.shape[0], width)
        self._kernel[(len(plan.tiles), -(-width // _COLUMNS))](
            states,
            weight,
            weight if bias is None else bias,
            output,
            plan.tiles,
            plan.addresses,
            width,
            depth,
            (depth + 7) // 8,
            HAS_BIAS=bias is not None,
            ROWS=plan.height,
            COLUMNS=_COLUMNS,
            DEPTH=_DEPTH,
            STEPS=-(-depth // _DEPTH),
        )
        return output


def tile_height(rows: int, sets: int) -> int:
    """Rows of a tile, for so many rows of so many sets."""
    return _MANY_ROWS if rows >= _MANY_ROWS * sets else _FEW_ROWS


def tiles_of(sizes: Sequence[int], height: int) -> list[tuple[int, int, int]]:
    """Set, first row and end of the set's rows of each tile."""
    ends = list(accumulate(sizes))
    return [
        (number, first, end)
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
        for first in range(end - size, end, height)
    ]


def linear_works(kernel: CudaMaskedLinear, device: torch.device) -> bool:
    """Whether small products of three sets come out right on a device.

    On a GPU in every type that it takes, and in both heights of tiles.
    """
    generator = torch.Generator().manual_seed(0)
    types = TYPES if device.type == "cuda" else (torch.float32,)
    for dtype, sizes in product(types, ([3, 17, 1], [70, 64, 66])):
        states = torch.randn(sum(sizes), 40, generator=generator).to(device, dtype)
        weight = torch.randn(70, 40, generator=generator).to(device, dtype)
        bits = torch.randint(0, 256, (70, 5), dtype=torch.uint8, generator=generator).to(device)
        found = kernel(states, weight, weight[:, 0].contiguous(), [bits, None, bits], sizes)
        whole = weight.float()
        masked = whole * spread_bits(bits, 40)
        parts = zip(states.float().split(sizes), (masked, whole, masked), strict=True)
        expected = torch.cat([part @ matrix.t() for part, matrix in parts]) + whole[:, 0]
        # Half-precision types round the result to a few hundredths of the largest.
        near = 1e-2 if dtype == torch.float32 else float(expected.abs().max()) * 1e-2
        if not float((found.float() - expected).abs().max()) < near:
            return False
    return True


@lru_cache(maxsize=256)
def _tiles(sizes: tuple[int, ...], height: int, device: torch.device) -> Tensor:
    """`tiles_of` on the device; all linears of a pass ask for the same."""
    tiles = torch.tensor(tiles_of(sizes, height), dtype=torch.int64)
    return tiles.to(device, non_blocking=True)


@lru_cache(maxsize=4096)
def _on_device(addresses: tuple[int, ...], device: torch.device) -> Tensor:
    """Addresses as int64 on the device; the same masks come again and again."""
    return torch.tensor(addresses, dtype=torch.int64).to(device, non_blocking=True)
