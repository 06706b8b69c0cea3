"""Mask sets as the kernels of linears take them."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Bits = Sequence[NDArray[np.uint8] | None]


def mask_sets(
    states: Tensor, bits: Bits, sizes: Sequence[int], shape: tuple[int, int]
) -> tuple[ctypes.Array[ctypes.c_int64], ctypes.Array[ctypes.c_void_p]]:
    """Where each block of `sizes[i]` rows begins and the last one ends, and where its bits lie.

    The bits are uint8 (out, in / 8) for a weight of shape (out, in), or None for a null address.

    Raises:
        ValueError: sizes or bits do not go with the states.
    """
    # Made without numpy, whose calls cost more than a small batch's product.
    starts = (ctypes.c_int64 * (len(sizes) + 1))(*accumulate(sizes, initial=0))
    packed = (shape[0], shape[1] // 8)
    if starts[len(sizes)] != states.shape[0] or any(
        part is not None and part.shape != packed for part in bits
    ):
        raise ValueError(f"sizes {tuple(sizes)} or bits do not go with {tuple(states.shape)}")
    addresses = (ctypes.c_void_p * len(bits))(
        *(None if part is None else part.ctypes.data for part in bits)
    )
    return starts, addresses
