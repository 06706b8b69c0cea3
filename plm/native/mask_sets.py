"""Mask sets as the kernels of linears take them."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class HasBits(Protocol):
    """A mask of one matrix, as the kernels of linears are given it."""

    @property
    def bits(self) -> NDArray[np.uint8]:
        """(out, in / 8), contiguous."""

    @property
    def address(self) -> int:
        """Of the first byte of the bits (`address_of`); whoever asks has it looked up once."""


@dataclass(frozen=True, eq=False)
class PackedBits:
    """Bits (out, in / 8) and nothing else."""

    bits: NDArray[np.uint8]

    @cached_property
    def address(self) -> int:
        """Of their first byte."""
        return address_of(self.bits)


Bits = Sequence[HasBits | None]


@dataclass(frozen=True, eq=False)
class SetAddresses:
    """Where what a kernel reads of mask sets lies; whoever calls sees to it that it stays there.

    Attributes:
        bits: address of as many addresses as there are sets, each of the first byte of a set's
            bits (out, in / 8), or 0 for no mask.
        sums: the same of sums of what each set keeps (`BlockedKernel`), or None.
        sets: how many there are.
    """

    bits: int
    sums: int | None
    sets: int


def address_of(array: NDArray[np.integer]) -> int:
    """Where an array's first byte lies; asking numpy for it takes as long as a few rows' product.

    Raises:
        ValueError: the array is not contiguous.
    """
    if not array.flags.c_contiguous:
        raise ValueError("arrays must be contiguous for the native kernels")
    address: int = array.__array_interface__["data"][0]
    return address


def mask_sets(
    states: Tensor, bits: Bits, sizes: Sequence[int], shape: tuple[int, int]
) -> tuple[ctypes.Array[ctypes.c_int64], ctypes.Array[ctypes.c_void_p]]:
    """Where each block of `sizes[i]` rows begins and the last one ends, and where its bits lie.

    The bits are those of a weight of shape (out, in), or None for a null address.

    Raises:
        ValueError: sizes or bits do not go with the states.
    """
    starts = starts_of(tuple(sizes))
    packed = (shape[0], shape[1] // 8)
    if starts[len(sizes)] != states.shape[0] or any(
        part is not None and part.bits.shape != packed for part in bits
    ):
        raise ValueError(f"sizes {tuple(sizes)} or bits do not go with {tuple(states.shape)}")
    addresses = (ctypes.c_void_p * len(bits))(
        *[None if part is None else part.address for part in bits]
    )
    return starts, addresses


@lru_cache(maxsize=64)
def starts_of(sizes: tuple[int, ...]) -> "ctypes.Array[ctypes.c_int64]":
    """Where each block of rows begins, and the last one ends: the same for many linears.

    Made without numpy, whose calls cost more than a small batch's product.
    """
    return (ctypes.c_int64 * (len(sizes) + 1))(*accumulate(sizes, initial=0))
