"""Set algebra of masks, on the packed bits.

A mask is the set of weights it keeps. Each function takes masks as mappings from parameter name
to uint8 (rows, ceil(columns / 8)) and returns one in new arrays. Padding bits are zero in every
part and stay zero. All raise MaskMismatchError if names or packed shapes differ, and
MaskValueError if there are no masks or an array is not uint8.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from masks.errors import MaskMismatchError, MaskValueError

PackedBits = Mapping[str, NDArray[np.uint8]]


def union(parts: Sequence[PackedBits]) -> dict[str, NDArray[np.uint8]]:
    """Weights kept by any mask."""
    result = _start(parts)
    for part in parts[1:]:
        for name, bits in result.items():
            np.bitwise_or(bits, part[name], out=bits)
    return result


def intersection(parts: Sequence[PackedBits]) -> dict[str, NDArray[np.uint8]]:
    """Weights kept by every mask."""
    result = _start(parts)
    for part in parts[1:]:
        for name, bits in result.items():
            np.bitwise_and(bits, part[name], out=bits)
    return result


def difference(parts: Sequence[PackedBits]) -> dict[str, NDArray[np.uint8]]:
    """Weights kept by the first mask and by none of the others."""
    result = _start(parts)
    for part in parts[1:]:
        for name, bits in result.items():
            np.bitwise_and(bits, np.bitwise_not(part[name]), out=bits)
    return result


def vote(parts: Sequence[PackedBits], k: int) -> dict[str, NDArray[np.uint8]]:
    """Weights kept by at least `k` of the masks.

    Raises:
        MaskValueError: `k` is not from 1 to the number of masks.
    """
    names = _start(parts).keys()
    if not 1 <= k <= len(parts):
        raise MaskValueError(f"k must be from 1 to the {len(parts)} masks, not {k}")
    return {name: _vote([part[name] for part in parts], k) for name in names}


def _vote(rows: Sequence[NDArray[np.uint8]], k: int) -> NDArray[np.uint8]:
    # Bit-sliced counters: plane i holds bit i of the counter of every weight, so that one byte
    # operation advances eight counters. Counters start at 2**top - k, where 2**top >= n >= k: bit
    # `top` is set at the end exactly where at least k masks added one, and none overflows.
    top = (len(rows) - 1).bit_length()
    start = (1 << top) - k
    planes = [
        np.full(rows[0].shape, 0xFF if start >> i & 1 else 0, np.uint8) for i in range(top + 1)
    ]
    for bits in rows:
        carry = bits
        for plane in planes:
            next_carry = plane & carry
            np.bitwise_xor(plane, carry, out=plane)
            carry = next_carry
    return planes[top]


def _start(parts: Sequence[PackedBits]) -> dict[str, NDArray[np.uint8]]:
    """A copy of the first part, after checking that all parts have its layout."""
    if not parts:
        raise MaskValueError("there are no masks to combine")
    first = parts[0]
    for number, part in enumerate(parts, start=1):
        for name in sorted(first.keys() ^ part.keys()):
            has, lacks = (1, number) if name in first else (number, 1)
            raise MaskMismatchError(
                f"masks cover different matrices: mask {has} has {name}, mask {lacks} does not"
            )
        for name, bits in part.items():
            if bits.dtype != np.uint8:
                raise MaskValueError(f"the bits of {name} must be uint8, not {bits.dtype}")
            if bits.shape != first[name].shape:
                raise MaskMismatchError(
                    f"the bits of {name} have shape {bits.shape} in mask {number}, "
                    f"but {first[name].shape} in mask 1"
                )
    return {name: np.array(bits, order="C", copy=True) for name, bits in first.items()}
