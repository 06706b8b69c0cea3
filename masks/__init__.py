"""The mask artefact of a relation: one bit a weight, its algebra, its file, and packs of files.

Everything here works on numpy arrays alone, so that a mask can be read, checked and combined
where neither a model library nor a web server is installed.
"""

from masks.algebra import difference, intersection, union, vote
from masks.bits import count_kept, has_trailing_bits, pack_bits, unpack_bits
from masks.errors import (
    MaskError,
    MaskExpressionError,
    MaskFileError,
    MaskMismatchError,
    MaskValueError,
    UnknownRelationError,
)

__all__ = [
    "MaskError",
    "MaskExpressionError",
    "MaskFileError",
    "MaskMismatchError",
    "MaskValueError",
    "UnknownRelationError",
    "count_kept",
    "difference",
    "has_trailing_bits",
    "intersection",
    "pack_bits",
    "union",
    "unpack_bits",
    "vote",
]
