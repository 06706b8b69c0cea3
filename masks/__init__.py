"""The mask artefact of a relation: one bit a weight, its algebra, its file, and packs of files.

Everything here works on numpy arrays alone, so that a mask can be read, checked and combined
where neither a model library nor a web server is installed.
"""

from masks.algebra import difference, intersection, union, vote
from masks.bits import count_kept, has_trailing_bits, pack_bits, unpack_bits
from masks.digest import combined_digest, mask_digest
from masks.errors import (
    MaskError,
    MaskExpressionError,
    MaskFileError,
    MaskMismatchError,
    MaskValueError,
    UnknownRelationError,
)
from masks.mask import PackedMask, RelationMask
from masks.metadata import MaskMetadata
from masks.naming import check_relation_name, layer_of, role_of

__all__ = [
    "MaskError",
    "MaskExpressionError",
    "MaskFileError",
    "MaskMetadata",
    "MaskMismatchError",
    "MaskValueError",
    "PackedMask",
    "RelationMask",
    "UnknownRelationError",
    "check_relation_name",
    "combined_digest",
    "count_kept",
    "difference",
    "has_trailing_bits",
    "intersection",
    "layer_of",
    "mask_digest",
    "pack_bits",
    "role_of",
    "union",
    "unpack_bits",
    "vote",
]
