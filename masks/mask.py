"""A relation's mask in memory: metadata and packed bits, or values, that agree."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NotRequired, Protocol, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from masks.bits import (
    count_weights,
    has_trailing_bits,
    pack_bits,
    packed_columns,
    sparsity_of,
    unpack_bits,
)
from masks.calibration import Calibration
from masks.digest import mask_digest
from masks.errors import MaskValueError
from masks.expectation import expectation_of, expected_sparsity, kept_at, quantise
from masks.metadata import MaskMetadata
from masks.rules import Setting


class PackedMask(Protocol):
    """What single and combined masks have in common: enough to run a model under one."""

    @property
    def base_digest(self) -> str:
        """Digest of the base model the mask belongs to."""

    @property
    def digest(self) -> str:
        """Identity of the masked model."""

    @property
    def sparsity(self) -> float:
        """Share of weights removed, 0 to 1."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """(rows, columns) of each masked matrix, by parameter name."""

    @property
    def packed(self) -> Mapping[str, NDArray[np.uint8]]:
        """Read-only uint8 of each matrix, by parameter name.

        (rows, ceil(columns / 8)) at one bit a weight, (rows, columns) at eight.
        """

    @property
    def bits_per_weight(self) -> int:
        """1: each weight is kept or removed; 8: each is multiplied by a value / 255."""


def keep_of(mask: PackedMask, name: str) -> NDArray[np.bool_]:
    """A matrix's boolean (rows, columns) mask, True where the weight is kept.

    Raises:
        KeyError: the mask does not cover that parameter.
        MaskValueError: the mask has 8 bits a weight, and decides on none.
    """
    packed = mask.packed[name]
    if mask.bits_per_weight != 1:
        raise MaskValueError(
            "a mask of 8 bits a weight neither keeps nor removes a weight; its values multiply "
            "them: ask for those, or make a mask of one bit by a threshold"
        )
    return unpack_bits(packed, mask.shapes[name][1])


def weights_of(mask: PackedMask, name: str) -> NDArray[np.float32]:
    """What the mask multiplies a matrix's weights with, (rows, columns), from 0 to 1.

    0 or 1 at one bit a weight, value / 255 at eight.

    Raises:
        KeyError: the mask does not cover that parameter.
    """
    if mask.bits_per_weight == 1:
        return keep_of(mask, name).astype(np.float32)
    return expectation_of(mask.packed[name])


class MaskFields(TypedDict):
    """The fields of `MaskMetadata` that do not follow from the weights."""

    relation: str
    base_model: str
    base_digest: str
    architecture: str
    layers: tuple[int, int]
    method: str
    threshold: float | None
    templates: tuple[str, ...]
    data_name: str
    data_digest: str
    seed: int
    validation: Mapping[str, float]
    tool_version: str
    settings: NotRequired[Mapping[str, Setting]]
    facts: NotRequired[Mapping[str, int]]
    calibration: NotRequired[Calibration | None]


@dataclass(frozen=True, eq=False)
class RelationMask:
    """Which weights one relation keeps, or how much of each.

    Arrays are read-only (copied if they were not). Two masks are equal if their metadata and bits
    are.

    Attributes:
        metadata: facts about the mask.
        packed: uint8 by the base model's parameter name: bits (rows, ceil(columns / 8)), or, at 8
            bits a weight, values (rows, columns).
        digest: `sha256:<hex>` of base, names, shapes and bits (`masks.digest`).
        sparsity: share of weights removed, 0 to 1; at 8 bits a weight the mean of
            1 - value / 255, the share removed on average.

    Raises:
        MaskValueError: names differ from those of `metadata.shapes`, or an array is not uint8,
            has another shape, or has padding bits set.
    """

    metadata: MaskMetadata
    packed: Mapping[str, NDArray[np.uint8]]
    digest: str = field(init=False)
    sparsity: float = field(init=False)

    def __post_init__(self) -> None:
        shapes, bits = self.metadata.shapes, self.bits_per_weight
        _check_names(shapes, self.packed)
        packed = {name: _checked(name, self.packed[name], shapes[name], bits) for name in shapes}
        sparsity = (sparsity_of if bits == 1 else expected_sparsity)(packed, shapes)
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "digest", mask_digest(self.base_digest, shapes, packed, bits))
        object.__setattr__(self, "sparsity", sparsity)

    @classmethod
    def from_keep(cls, keep: Mapping[str, NDArray[np.bool_]], **fields: Unpack[MaskFields]) -> Self:
        """Make a mask from boolean (rows, columns) matrices, True where the weight is kept.

        The other arguments are the fields of `MaskMetadata`; its shapes are those of `keep`.

        Raises:
            MaskValueError: a matrix or a metadata field breaks a rule.
        """
        packed = {name: pack_bits(matrix) for name, matrix in keep.items()}
        return cls(MaskMetadata(shapes=_shapes(keep), **fields), packed)

    @classmethod
    def from_expectation(
        cls, expectation: Mapping[str, NDArray[np.floating]], **fields: Unpack[MaskFields]
    ) -> Self:
        """Make a mask of 8 bits a weight from (rows, columns) matrices of floats from 0 to 1.

        Each is rounded to the nearest value / 255. The other arguments are as for `from_keep`;
        `threshold` must be None.

        Raises:
            MaskValueError: a matrix or a metadata field breaks a rule.
        """
        values = {name: quantise(name, matrix) for name, matrix in expectation.items()}
        return cls.from_values(values, **fields)

    @classmethod
    def from_values(
        cls, values: Mapping[str, NDArray[np.uint8]], **fields: Unpack[MaskFields]
    ) -> Self:
        """The same from values that are quantised already, uint8 (rows, columns).

        Raises:
            MaskValueError: a matrix or a metadata field breaks a rule.
        """
        for name, matrix in values.items():
            if matrix.ndim != 2:
                raise MaskValueError(
                    f"the values of {name} have rows and columns, not shape {matrix.shape}"
                )
        return cls(MaskMetadata(shapes=_shapes(values), bits_per_weight=8, **fields), values)

    @property
    def relation(self) -> str:
        """Name of the relation."""
        return self.metadata.relation

    @property
    def base_digest(self) -> str:
        """Digest of the base model the mask belongs to."""
        return self.metadata.base_digest

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """(rows, columns) of each masked matrix, by parameter name."""
        return self.metadata.shapes

    @property
    def bits_per_weight(self) -> int:
        """1: each weight is kept or removed; 8: each is multiplied by a value / 255."""
        return self.metadata.bits_per_weight

    @property
    def weight_count(self) -> int:
        """Weights the mask decides on, kept and removed."""
        return count_weights(self.shapes)

    def keep(self, name: str) -> NDArray[np.bool_]:
        """The matrix's boolean (rows, columns) mask, True where the weight is kept.

        Raises:
            KeyError: the mask does not cover that parameter.
            MaskValueError: the mask has 8 bits a weight, and decides on none.
        """
        return keep_of(self, name)

    def values(self, name: str) -> NDArray[np.uint8]:
        """The matrix's values (rows, columns) of a mask of 8 bits a weight, read-only.

        Raises:
            KeyError: the mask does not cover that parameter.
            MaskValueError: the mask has one bit a weight.
        """
        packed = self.packed[name]
        if self.bits_per_weight != 8:
            raise MaskValueError("a mask of one bit a weight has no values; ask what it keeps")
        return packed

    def at_threshold(self, threshold: float) -> Self:
        """The mask of one bit a weight that keeps the weights whose value / 255 reaches it.

        It answers otherwise than this one does, so that it has neither its validation nor its
        calibration.

        Raises:
            MaskValueError: this mask has one bit a weight, or the threshold is not from 0 to 1.
        """
        if self.bits_per_weight == 1:
            raise MaskValueError(f"mask {self.relation} has one bit a weight already")
        packed = {n: pack_bits(kept_at(values, threshold)) for n, values in self.packed.items()}
        metadata = replace(
            self.metadata, bits_per_weight=1, threshold=threshold, validation={}, calibration=None
        )
        return type(self)(metadata, packed)

    def with_calibration(self, calibration: Calibration | None) -> Self:
        """The same mask, calibrated otherwise; its digest stays."""
        return replace(self, metadata=replace(self.metadata, calibration=calibration))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RelationMask):
            return NotImplemented
        return self.digest == other.digest and self.metadata == other.metadata

    def __hash__(self) -> int:
        return hash((self.digest, self.relation))


def _check_names(
    shapes: Mapping[str, tuple[int, int]], packed: Mapping[str, NDArray[np.uint8]]
) -> None:
    for name in sorted(shapes.keys() ^ packed.keys()):
        if name in shapes:
            raise MaskValueError(f"shapes name {name}, but there are no bits for it")
        raise MaskValueError(f"there are bits for {name}, but shapes do not name it")


def _shapes(matrices: Mapping[str, NDArray[np.generic]]) -> dict[str, tuple[int, int]]:
    return {name: (matrix.shape[0], matrix.shape[1]) for name, matrix in matrices.items()}


def _checked(
    name: str, packed: NDArray[np.uint8], shape: tuple[int, int], bits_per_weight: int
) -> NDArray[np.uint8]:
    rows, columns = shape
    what, right = "bits", (rows, packed_columns(columns))
    if bits_per_weight == 8:
        what, right = "values", shape
    if packed.dtype != np.uint8:
        raise MaskValueError(f"the {what} of {name} must be uint8, not {packed.dtype}")
    if packed.shape != right:
        raise MaskValueError(
            f"the {what} of {name} must have shape {right} for {rows} x {columns} weights of "
            f"{bits_per_weight} bit{'s' * (bits_per_weight > 1)}, not {packed.shape}"
        )
    if bits_per_weight == 1 and has_trailing_bits(packed, columns):
        raise MaskValueError(f"the bits of {name} are set beyond its {columns} columns")
    return _frozen(packed)


def _frozen(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Copied if its owner could still write to it: the digest must stay true.
    if bits.flags.writeable or not bits.flags.c_contiguous:
        bits = np.array(bits, order="C", copy=True)
        bits.flags.writeable = False
    return bits
