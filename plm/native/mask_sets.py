"""Mask sets as the kernels of linears take them."""

import ctypes
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class PackedBits:
    """A mask's bits of one matrix, and where they lie.

    A pass needs that of each set for each matrix, and asking numpy for it takes longer than
    looking it up here by as much as a tenth of a pass of many sets.

    Attributes:
        array: uint8 (out, in / 8), contiguous.
        shape: of the array.
        address: of its first byte.
    """

    __slots__ = ("address", "array", "shape")

    def __init__(self, array: NDArray[np.uint8]) -> None:
        """Of bits (out, in / 8), copied if they are not contiguous."""
        self.array = np.ascontiguousarray(array)
        self.shape = self.array.shape
        self.address: int = self.array.__array_interface__["data"][0]


Bits = Sequence[PackedBits | None]


def mask_sets(
    states: Tensor, bits: Bits, sizes: Sequence[int], shape: tuple[int, int]
) -> tuple[ctypes.Array[ctypes.c_int64], ctypes.Array[ctypes.c_void_p]]:
    """Where each block of `sizes[i]` rows begins and the last one ends, and where its bits lie.

    The bits are those of a weight of shape (out, in), or None for a null address.

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
        *[None if part is None else part.address for part in bits]
    )
    return starts, addresses
