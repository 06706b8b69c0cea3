"""Eight bits a weight: the expectation of a stochastic mask, quantised to 1/255.

A weight's value v from 0 to 255 multiplies it by v / 255. Arrays are uint8 of the matrix's own
shape (rows, columns): nothing is packed, and there is no padding.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from masks.bits import count_weights
from masks.errors import MaskValueError
from masks.rules import check_fraction

STEPS = 255


def quantise(name: str, expectation: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Expectations (rows, columns) from 0 to 1 to the nearest v / 255, as uint8.

    `name` is the matrix's, for errors.

    Raises:
        MaskValueError: not of floats, not two-dimensional, without a weight, or a value that is
            NaN or outside of 0 to 1.
    """
    if not np.issubdtype(expectation.dtype, np.floating):
        raise MaskValueError(
            f"the expectation of {name} must be of floats from 0 to 1, not {expectation.dtype}"
        )
    if expectation.ndim != 2 or expectation.size == 0:
        raise MaskValueError(
            f"the expectation of {name} has rows and columns, at least one of each, "
            f"not shape {expectation.shape}"
        )
    outside = ~((expectation >= 0) & (expectation <= 1))
    if outside.any():
        raise MaskValueError(
            f"the expectation of {name} must be from 0 to 1; {int(outside.sum())} of its "
            f"{expectation.size} values are not, the first of them {expectation[outside][0]}"
        )
    # In double precision the product is exact for float32: no value is rounded to the wrong side.
    steps = np.multiply(expectation, STEPS, dtype=np.float64)
    values: NDArray[np.uint8] = np.rint(steps).astype(np.uint8)
    return values


def expectation_of(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """v / 255 of each value, of the same shape."""
    return values.astype(np.float32) / np.float32(STEPS)


def kept_at(values: NDArray[np.uint8], threshold: float) -> NDArray[np.bool_]:
    """True where v / 255 reaches the threshold, of the same shape.

    At 0.5 these are the weights whose expectation reached it before it was quantised.

    Raises:
        MaskValueError: the threshold is not from 0 to 1.
    """
    reached = np.arange(STEPS + 1) / STEPS >= check_fraction("the threshold", threshold)
    return reached[values]


def expected_sparsity(
    values: Mapping[str, NDArray[np.uint8]], shapes: Mapping[str, tuple[int, int]]
) -> float:
    """Mean of 1 - v / 255 over all weights of all matrices, 0 to 1."""
    whole = count_weights(shapes) * STEPS
    return (whole - sum(sum_of_values(part) for part in values.values())) / whole


def sum_of_values(values: NDArray[np.uint8]) -> int:
    """Sum of the values of a matrix; divided by 255, the number of weights kept on average."""
    return int(values.sum(dtype=np.int64))
