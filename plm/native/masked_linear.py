"""The native kernel of masked linears; `plm.linear` is its twin in PyTorch."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from plm.native.mask_sets import Bits, mask_sets
from plm.native.variant import Variant

# As masked_linear.h numbers them.
_FORMATS = {torch.float32: 0, torch.bfloat16: 2}
_HALF = 1


class MaskedLinearKernel:
    """Y = X (W * M)^T + b for rows of many mask sets in one call, from the packed bits.

    On a CPU, of float32 or bfloat16, and computed in float32; W * M is never written to memory.
    `masked_linear.h` says how.

    Attributes:
        wide: whether it is as fast as PyTorch where nothing is masked too.
        reads_half: whether it makes use of weights in half precision.
    """

    def __init__(self, variant: Variant) -> None:
        self.wide, self.reads_half = variant.wide, variant.reads_half
        self._step = variant.step
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._run = variant.function("masked_linear")
        self._run.argtypes = [pointer, count, *[pointer] * 3, count, pointer, pointer, count, count]
        self._run.restype = ctypes.c_int

    def takes(self, states: Tensor, weight: Tensor) -> bool:
        """Whether it can multiply these: of a type and on a CPU, and a depth it can split."""
        return (
            states.dtype == weight.dtype
            and states.dtype in _FORMATS
            and states.device.type == "cpu"
            and weight.is_contiguous()
            and weight.shape[1] % self._step == 0
        )

    def __call__(
        self,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        bits: Bits,
        sizes: Sequence[int],
        *,
        half: Tensor | None = None,
    ) -> Tensor:
        """Apply the mask `bits[i]` to the i-th block of `sizes[i]` rows of (N, in) -> (N, out).

        Args:
            states: (N, in); N is the sum of the sizes.
            weight: (out, in), common to all blocks.
            bias: (out,), or None.
            bits: of the weight, each; None leaves it as it is.
            sizes: rows of each block.
            half: the weight in float16, if that has the same values: half as much to read.

        Raises:
            ValueError: sizes or bits do not go with the states, or a weight that it does not take.
        """
        wanted, states = states.dtype, states.float().contiguous()
        bias = None if bias is None else bias.float()
        read, form = weight, _FORMATS[weight.dtype]
        if half is not None and self.reads_half:
            read, form = half, _HALF
        width, depth = weight.shape
        rows = states.shape[0]
        starts, addresses = mask_sets(states, bits, sizes, (width, depth))
        output = states.new_empty(rows, width)
        refused = self._run(
            states.data_ptr(),
            len(bits),
            ctypes.addressof(starts),
            ctypes.addressof(addresses),
            read.data_ptr(),
            form,
            None if bias is None else bias.data_ptr(),
            output.data_ptr(),
            width,
            depth,
        )
        if refused:
            raise ValueError(f"the kernel does not take a weight of shape {tuple(weight.shape)}")
        return output.to(wanted)
