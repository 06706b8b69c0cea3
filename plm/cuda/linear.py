"""Calls the Triton kernel of masked linears; `plm.linear` has its twin in PyTorch."""

import logging
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from plm.cuda.choice import dense_from
from plm.unpacking import spread_bits

logger = logging.getLogger(__name__)

_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_COLUMNS, _DEPTH = 64, 64
# Tensor cores take 16 rows at the least; more fill them better where a set has them.
_FEW_ROWS, _MANY_ROWS = 16, 64


class CudaMaskedLinear:
    """Y = X (W * M)^T + b for rows of many mask sets in one launch, from the packed bits."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._dense_from: dict[tuple[torch.Size, torch.dtype], int] = {}

    def takes(self, states: Tensor, weight: Tensor) -> bool:
        """Whether it can multiply these: floating-point, of one type, on a CUDA device."""
        return (
            states.is_cuda
            and states.dtype == weight.dtype
            and states.dtype in _TYPES
            and weight.is_contiguous()
        )

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
        states = states.contiguous()
        rows, (width, depth) = states.shape[0], weight.shape
        shape = (width, (depth + 7) // 8)
        if sum(sizes) != rows or any(
            part is not None and (part.shape != shape or part.device != states.device)
            for part in bits
        ):
            raise ValueError(f"sizes {tuple(sizes)} or bits do not go with {tuple(states.shape)}")
        output = states.new_empty(rows, width)
        height = _MANY_ROWS if rows >= _MANY_ROWS * len(sizes) else _FEW_ROWS
        tiles = [
            (number, first, end)
            for number, (start, end) in enumerate(_spans(sizes))
            for first in range(start, end, height)
        ]
        if not tiles:
            return output
        addresses = [0 if part is None else part.data_ptr() for part in bits]
        # One small copy each; they are on their way before the launch, on the same stream.
        table = torch.tensor(tiles, dtype=torch.int32).to(states.device, non_blocking=True)
        where = torch.tensor(addresses, dtype=torch.int64).to(states.device, non_blocking=True)
        self._kernel[(len(tiles), -(-width // _COLUMNS))](
            states,
            weight,
            weight if bias is None else bias,
            output,
            table,
            where,
            width,
            depth,
            shape[1],
            HAS_BIAS=bias is not None,
            ROWS=height,
            COLUMNS=_COLUMNS,
            DEPTH=_DEPTH,
            STEPS=-(-depth // _DEPTH),
        )
        return output


def linear_works(kernel: CudaMaskedLinear, device: torch.device) -> bool:
    """Whether a small product of three sets comes out right on a device."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(21, 40, generator=generator).to(device)
    weight = torch.randn(70, 40, generator=generator).to(device)
    bits = torch.randint(0, 256, (70, 5), dtype=torch.uint8, generator=generator).to(device)
    found = kernel(states, weight, weight[:, 0].contiguous(), [bits, None, bits], [3, 17, 1])
    keep = spread_bits(bits, 40)
    parts = zip(states.split([3, 17, 1]), (weight * keep, weight, weight * keep), strict=True)
    expected = torch.cat([part @ matrix.t() for part, matrix in parts]) + weight[:, 0]
    return bool((found - expected).abs().max() < 1e-2)


def _spans(sizes: Sequence[int]) -> list[tuple[int, int]]:
    ends = list(accumulate(sizes))
    return [(end - size, end) for size, end in zip(sizes, ends, strict=True)]
