"""A relation's mask in memory: metadata and packed bits that agree."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

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
        """Read-only uint8 (rows, ceil(columns / 8)) of each matrix, by parameter name."""


@dataclass(frozen=True, eq=False)
class RelationMask:
    """Which weights one relation keeps. Arrays are read-only (copied if they were not).

    Two masks are equal if their metadata and bits are.

    Attributes:
        metadata: facts about the mask.
        packed: uint8 (rows, ceil(columns / 8)) by the base model's parameter name.
        digest: `sha256:<hex>` of base, names, shapes and bits (`masks.digest`).
        sparsity: share of weights removed, 0 to 1.

    Raises:
        MaskValueError: names differ from those of `metadata.shapes`, or an array is not uint8,
            has another shape, or has padding bits set.
    """

    metadata: MaskMetadata
    packed: Mapping[str, NDArray[np.uint8]]
    digest: str = field(init=False)
    sparsity: float = field(init=False)

    def __post_init__(self) -> None:
        shapes = self.metadata.shapes
        _check_names(shapes, self.packed)
        packed = {name: _checked(name, self.packed[name], shapes[name]) for name in shapes}
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "digest", mask_digest(self.base_digest, shapes, packed))
        object.__setattr__(self, "sparsity", sparsity_of(packed, shapes))

    @classmethod
    def from_keep(
        cls,
        keep: Mapping[str, NDArray[np.bool_]],
        *,
        relation: str,
        base_model: str,
        base_digest: str,
        architecture: str,
        layers: tuple[int, int],
        method: str,
        threshold: float | None,
        templates: tuple[str, ...],
        data_name: str,
        data_digest: str,
        seed: int,
        validation: Mapping[str, float],
        tool_version: str,
        settings: Mapping[str, Setting] | None = None,
        facts: Mapping[str, int] | None = None,
        calibration: Calibration | None = None,
    ) -> Self:
        """Make a mask from boolean (rows, columns) matrices, True where the weight is kept.

        The other arguments are the fields of `MaskMetadata`; its shapes are those of `keep`.

        Raises:
            MaskValueError: a matrix or a metadata field breaks a rule.
        """
        packed = {name: pack_bits(matrix) for name, matrix in keep.items()}
        metadata = MaskMetadata(
            relation=relation,
            base_model=base_model,
            base_digest=base_digest,
            architecture=architecture,
            layers=layers,
            method=method,
            threshold=threshold,
            shapes={name: (matrix.shape[0], matrix.shape[1]) for name, matrix in keep.items()},
            templates=templates,
            data_name=data_name,
            data_digest=data_digest,
            seed=seed,
            validation=validation,
            tool_version=tool_version,
            settings=settings or {},
            facts=facts or {},
            calibration=calibration,
        )
        return cls(metadata, packed)

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
    def weight_count(self) -> int:
        """Weights the mask decides on, kept and removed."""
        return count_weights(self.shapes)

    def keep(self, name: str) -> NDArray[np.bool_]:
        """The matrix's boolean (rows, columns) mask, True where the weight is kept.

        Raises:
            KeyError: the mask does not cover that parameter.
        """
        return unpack_bits(self.packed[name], self.shapes[name][1])

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


def _checked(name: str, bits: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    rows, columns = shape
    if bits.dtype != np.uint8:
        raise MaskValueError(f"the bits of {name} must be uint8, not {bits.dtype}")
    if bits.shape != (rows, packed_columns(columns)):
        raise MaskValueError(
            f"the bits of {name} must have shape {(rows, packed_columns(columns))} "
            f"for {rows} x {columns} weights, not {bits.shape}"
        )
    if has_trailing_bits(bits, columns):
        raise MaskValueError(f"the bits of {name} are set beyond its {columns} columns")
    return _frozen(bits)


def _frozen(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Copied if its owner could still write to it: the digest must stay true.
    if bits.flags.writeable or not bits.flags.c_contiguous:
        bits = np.array(bits, order="C", copy=True)
        bits.flags.writeable = False
    return bits
