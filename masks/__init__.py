"""The mask artefact of a relation: its bits, their algebra, its file, and packs of files.

Everything here works on numpy arrays alone, so that a mask can be read, checked and combined
where neither a model library nor a web server is installed.
"""

from masks.algebra import difference, intersection, union, vote
from masks.bits import count_kept, has_trailing_bits, pack_bits, unpack_bits
from masks.calibration import Calibration
from masks.compatibility import check_fits
from masks.digest import combined_digest, mask_digest, pack_digest
from masks.errors import (
    MaskError,
    MaskExpressionError,
    MaskFileError,
    MaskMismatchError,
    MaskValueError,
    UnknownRelationError,
)
from masks.expectation import expectation_of, quantise
from masks.expression import Combine, CombinedMask, combine_masks
from masks.format import dump_mask, load_mask, parse_mask, save_mask
from masks.header import EXPECTATION_VERSION, FORMAT_VERSION
from masks.locking import is_being_written, lock_pack
from masks.manifest import MANIFEST_NAME, Manifest, PackEntry
from masks.mask import MaskFields, PackedMask, RelationMask, weights_of
from masks.metadata import MaskMetadata
from masks.naming import check_relation_name, layer_of, role_of
from masks.statistics import (
    Overlap,
    OverlapMatrix,
    overlap,
    overlap_matrix,
    sparsity_by_layer,
    sparsity_by_matrix,
    sparsity_by_role,
)
from masks.store import MaskPack, add_to_pack, remove_from_pack, write_pack

__all__ = [
    "EXPECTATION_VERSION",
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "Calibration",
    "Combine",
    "CombinedMask",
    "Manifest",
    "MaskError",
    "MaskExpressionError",
    "MaskFields",
    "MaskFileError",
    "MaskMetadata",
    "MaskMismatchError",
    "MaskPack",
    "MaskValueError",
    "Overlap",
    "OverlapMatrix",
    "PackEntry",
    "PackedMask",
    "RelationMask",
    "UnknownRelationError",
    "add_to_pack",
    "check_fits",
    "check_relation_name",
    "combine_masks",
    "combined_digest",
    "count_kept",
    "difference",
    "dump_mask",
    "expectation_of",
    "has_trailing_bits",
    "intersection",
    "is_being_written",
    "layer_of",
    "load_mask",
    "lock_pack",
    "mask_digest",
    "overlap",
    "overlap_matrix",
    "pack_bits",
    "pack_digest",
    "parse_mask",
    "quantise",
    "remove_from_pack",
    "role_of",
    "save_mask",
    "sparsity_by_layer",
    "sparsity_by_matrix",
    "sparsity_by_role",
    "union",
    "unpack_bits",
    "vote",
    "weights_of",
    "write_pack",
]
