"""The string metadata of a mask file: how each field is spelled, and its checksum.

safetensors metadata maps strings to strings, so that everything but plain text is compact JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from masks.calibration import Calibration
from masks.canonical_json import decode_json, encode_json
from masks.errors import MaskValueError
from masks.mask import RelationMask
from masks.metadata import MaskMetadata
from masks.rules import check_digest, check_fraction, check_integer

# One bit a weight, and eight. The kinds have versions of their own, so that readers that know one
# bit alone go on reading it, and refuse the other by name.
FORMAT_VERSION = "1"
EXPECTATION_VERSION = "2"

_TEXTS = (
    "relation",
    "base_model",
    "base_digest",
    "architecture",
    "method",
    "data_name",
    "data_digest",
    "tool_version",
)
_JSONS = (
    "layers",
    "threshold",
    "shapes",
    "templates",
    "seed",
    "validation",
    "settings",
    "facts",
)
# What follows from the bits is stored beside the fields of `MaskMetadata`.
_KEYS = frozenset((*_TEXTS, *_JSONS, "format_version", "sparsity", "digest", "checksum"))
# A mask without one has no such key, so that files older than the key stay equal to new ones.
_CALIBRATION = "calibration"
# Version 2 alone has this key.
_BITS = "bits_per_weight"


@dataclass(frozen=True)
class Header:
    """A mask file's metadata, read but not yet held against the bits."""

    metadata: MaskMetadata
    digest: str
    sparsity: float


def encode_header(mask: RelationMask) -> dict[str, str]:
    """All string metadata of the mask's file, checksum included."""
    fields = {
        "format_version": FORMAT_VERSION,
        "digest": mask.digest,
        "sparsity": encode_json(mask.sparsity),
    }
    fields |= {key: getattr(mask.metadata, key) for key in _TEXTS}
    fields |= {key: encode_json(getattr(mask.metadata, key)) for key in _JSONS}
    if mask.bits_per_weight != 1:
        fields["format_version"] = EXPECTATION_VERSION
        fields[_BITS] = encode_json(mask.bits_per_weight)
    if mask.metadata.calibration is not None:
        fields[_CALIBRATION] = encode_json(mask.metadata.calibration.to_record())
    return {**fields, "checksum": checksum(fields)}


def checksum(fields: Mapping[str, str]) -> str:
    """`sha256:<hex>` over the canonical JSON object of all string metadata but `checksum`.

    The digest is among them and covers the tensors, so that this covers the whole file.
    """
    covered = {key: value for key, value in fields.items() if key != "checksum"}
    return f"sha256:{sha256(encode_json(covered).encode()).hexdigest()}"


def decode_header(fields: Mapping[str, str]) -> Header:
    """Read and check string metadata; the inverse of `encode_header`.

    Raises:
        MaskValueError: unknown version, missing or unknown key, checksum, or a field that breaks
            its rule.
    """
    version = fields.get("format_version")
    if version is None:
        raise MaskValueError("it has no format_version, so that it is no mask file")
    if version not in (FORMAT_VERSION, EXPECTATION_VERSION):
        raise MaskValueError(
            f"format_version is {version!r:.40}, but this reader knows only {FORMAT_VERSION!r} and "
            f"{EXPECTATION_VERSION!r}"
        )
    keys = _KEYS | {_BITS} if version == EXPECTATION_VERSION else _KEYS
    for key in sorted(keys ^ (fields.keys() - {_CALIBRATION})):
        raise MaskValueError(f"metadata {'lack' if key in keys else 'hold the unknown'} {key!r}")
    if fields["checksum"] != checksum(fields):
        raise MaskValueError("metadata do not match their checksum: the file was changed")
    values: dict[str, Any] = {key: fields[key] for key in _TEXTS}
    values |= {key: _decode(key, fields[key]) for key in _JSONS}
    if _BITS in fields:
        values[_BITS] = _check_bits(_decode(_BITS, fields[_BITS]))
    if _CALIBRATION in fields:
        record = _decode(_CALIBRATION, fields[_CALIBRATION])
        values[_CALIBRATION] = Calibration.from_record(record)
    return Header(
        metadata=MaskMetadata(**values),
        digest=check_digest("digest", fields["digest"]),
        sparsity=check_fraction("sparsity", _decode("sparsity", fields["sparsity"])),
    )


def _check_bits(value: object) -> int:
    # A mask of one bit is written as version 1 alone: equal masks are equal files.
    if check_integer(_BITS, value) != 8:
        raise MaskValueError(
            f"bits_per_weight must be 8 in format_version {EXPECTATION_VERSION!r}, not {value}"
        )
    return 8


def _decode(key: str, text: str) -> object:
    try:
        return decode_json(text)
    except ValueError as error:
        raise MaskValueError(f"metadata {key!r} are not valid JSON ({error})") from error
