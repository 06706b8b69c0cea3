"""How sparse masks are and how much they share, counted on the packed bits."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from masks.bits import count_kept, count_weights
from masks.errors import MaskMismatchError, MaskValueError
from masks.expectation import STEPS, sum_of_values
from masks.mask import PackedMask, RelationMask
from masks.naming import layer_of, role_of

Key = TypeVar("Key", bound=Hashable)


def sparsity_by_matrix(mask: PackedMask) -> dict[str, float]:
    """Share of weights removed, 0 to 1, by parameter name."""
    return _sparsity_by(mask, lambda name: name)


def sparsity_by_layer(mask: PackedMask) -> dict[int, float]:
    """Share of weights removed by layer, counted from 1; matrices without a layer are left out."""
    return _sparsity_by(mask, layer_of)


def sparsity_by_role(mask: PackedMask) -> dict[str, float]:
    """Share of weights removed by role (`masks.naming.role_of`); others are left out."""
    return _sparsity_by(mask, role_of)


@dataclass(frozen=True)
class Overlap:
    """How much two masks have in common; each value from 0 to 1.

    Attributes:
        kept: Jaccard index of the kept weights, |A and B| / |A or B| (1 if neither keeps any).
        removed: Jaccard index of the removed weights.
        agreement: share of all weights on which both decide alike.
    """

    kept: float
    removed: float
    agreement: float


@dataclass(frozen=True, eq=False)
class OverlapMatrix:
    """`Overlap` of every pair of n masks: symmetric float64 (n, n), ordered as `relations`."""

    relations: tuple[str, ...]
    kept: NDArray[np.float64]
    removed: NDArray[np.float64]
    agreement: NDArray[np.float64]


def overlap(a: PackedMask, b: PackedMask) -> Overlap:
    """Compare two masks over the same matrices.

    Raises:
        MaskMismatchError: the masks cover different matrices, or one has 8 bits a weight and
            decides on none.
    """
    if a.bits_per_weight != 1 or b.bits_per_weight != 1:
        raise MaskMismatchError(
            "masks of 8 bits a weight keep and remove no weights that could be compared; make "
            "masks of one bit of them by a threshold"
        )
    if a.shapes != b.shapes:
        raise MaskMismatchError("masks over different matrices cannot be compared")
    both = sum(count_kept(bits & b.packed[name]) for name, bits in a.packed.items())
    return _overlap(both, _kept(a) + _kept(b) - both, count_weights(a.shapes))


def overlap_matrix(masks: Sequence[RelationMask]) -> OverlapMatrix:
    """Compare every pair of masks over the same matrices.

    Raises:
        MaskMismatchError: as `overlap` does.
        MaskValueError: there are no masks.
    """
    if not masks:
        raise MaskValueError("there are no masks to compare")
    values = np.ones((3, len(masks), len(masks)))
    for i, a in enumerate(masks):
        for j, b in enumerate(masks[:i]):
            pair = overlap(a, b)
            values[:, i, j] = values[:, j, i] = (pair.kept, pair.removed, pair.agreement)
    return OverlapMatrix(tuple(mask.relation for mask in masks), *values)


def _kept(mask: PackedMask) -> int:
    # The mask counted them already: its sparsity is exact to far less than one weight.
    total = count_weights(mask.shapes)
    return total - round(mask.sparsity * total)


def _overlap(both: int, either: int, total: int) -> Overlap:
    removed_by_both, removed_by_either = total - either, total - both
    return Overlap(
        kept=both / either if either else 1.0,
        removed=removed_by_both / removed_by_either if removed_by_either else 1.0,
        agreement=(both + removed_by_both) / total,
    )


def _sparsity_by(mask: PackedMask, key_of: Callable[[str], Key | None]) -> dict[Key, float]:
    # In whole numbers, so that the sum is exact: bits, or 255ths of a weight.
    steps, count = (1, count_kept) if mask.bits_per_weight == 1 else (STEPS, sum_of_values)
    kept: dict[Key, int] = defaultdict(int)
    total: dict[Key, int] = defaultdict(int)
    for name, (rows, columns) in mask.shapes.items():
        if (key := key_of(name)) is not None:
            kept[key] += count(mask.packed[name])
            total[key] += rows * columns * steps
    return {key: (total[key] - kept[key]) / total[key] for key in total}
