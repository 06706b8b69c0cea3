"""What a layer does between its linears, natively; `plm.layers` is its twin in PyTorch."""

import ctypes

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plm.native.variant import Variant

# Longer sentences are left to PyTorch's attention, which works in blocks.
_LONGEST = 128
_MOST_DEPTH = 128


class LayerKernel:
    """Attention without padding, LayerNorm of a sum, and GELU; float32 on a CPU."""

    def __init__(self, variant: Variant) -> None:
        self._lanes = variant.lanes
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._attention = variant.function("attention")
        self._attention.argtypes = [*[pointer] * 6, count, pointer, pointer, count, count]
        self._attention.restype = ctypes.c_int
        self._norm_of_sum = variant.function("norm_of_sum")
        self._norm_of_sum.argtypes = [*[pointer] * 6, count, count, ctypes.c_float]
        self._norm_of_sum.restype = None
        self._gelu = variant.function("gelu")
        self._gelu.argtypes = [pointer, pointer, count, count]
        self._gelu.restype = None

    def takes(self, states: Tensor, heads: int, longest: int) -> bool:
        """Whether it does layers of these states (N, H), in sentences of up to `longest` tokens."""
        depth, rest = divmod(states.shape[1], heads)
        return (
            states.dtype == torch.float32
            and states.device.type == "cpu"
            and not rest
            and depth % self._lanes == 0
            and depth <= _MOST_DEPTH
            and longest <= _LONGEST
        )

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        starts: NDArray[np.int64],
        query_starts: NDArray[np.int64],
        *,
        heads: int,
        query_bias: Tensor | None = None,
        value_bias: Tensor | None = None,
    ) -> Tensor:
        """Multi-head attention of (S, H) queries over (N, H) keys and values -> (S, H).

        Sentence i has the keys from `starts[i]` to `starts[i + 1]`, and the queries likewise. The
        biases (H,) are added to queries and values; one of the keys would change nothing.

        Raises:
            ValueError: sizes that it does not take.
        """
        if query_starts[-1] != len(query) or starts[-1] != len(key) or key.shape != value.shape:
            raise ValueError("the sentences do not go with the states")
        output = torch.empty_like(query)
        refused = self._attention(
            query.data_ptr(),
            key.data_ptr(),
            value.data_ptr(),
            _address(query_bias),
            _address(value_bias),
            output.data_ptr(),
            len(starts) - 1,
            starts.ctypes.data,
            query_starts.ctypes.data,
            heads,
            query.shape[1] // heads,
        )
        if refused:
            raise ValueError(
                f"{heads} heads of {query.shape[1]}, or a sentence is empty or too long"
            )
        return output

    def norm_of_sum(
        self,
        states: Tensor,
        residual: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
        *,
        states_bias: Tensor | None = None,
    ) -> Tensor:
        """LayerNorm(states + states_bias + residual), (N, H) and (H,), contiguous.

        Raises:
            ValueError: H is no multiple of its vectors.
        """
        self._check(states.shape[1])
        output = torch.empty_like(states)
        self._norm_of_sum(
            states.data_ptr(),
            _address(states_bias),
            residual.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            output.data_ptr(),
            *states.shape,
            eps,
        )
        return output

    def gelu_(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        """GELU (the exact one) of contiguous states (N, F), the bias (F,) added, in their place.

        It is exact to 1.5e-7 of their size.

        Raises:
            ValueError: F is no multiple of its vectors.
        """
        rows, width = states.shape
        self._check(width)
        self._gelu(states.data_ptr(), _address(bias), rows, width)
        return states

    def _check(self, count: int) -> None:
        if count % self._lanes:
            raise ValueError(f"{count} values are no whole vectors of {self._lanes}")


def _address(bias: Tensor | None) -> int | None:
    return None if bias is None else bias.data_ptr()
