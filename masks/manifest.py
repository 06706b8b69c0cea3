"""A pack's manifest: which masks a folder holds, and how to know their files."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from masks.canonical_json import decode_json
from masks.digest import pack_digest
from masks.errors import MaskFileError, MaskValueError
from masks.files import read_whole, write_atomically
from masks.mask import RelationMask
from masks.metadata import BITS_PER_WEIGHT
from masks.naming import check_relation_name
from masks.rules import check_digest, check_fraction, check_integer, check_mapping, check_text

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = "1"

# An entry without it has one bit a weight, so that packs of such masks stay as they were.
_BITS = "bits_per_weight"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PackEntry:
    """What the manifest says of one mask.

    Attributes:
        file: file name in the pack's folder, always `<relation>.safetensors`.
        sha256: SHA-256 of the file, 64 hexadecimal digits, as `sha256sum` prints it.
        digest: `RelationMask.digest`.
        sparsity: share of weights removed, 0 to 1.
        facts: how many facts each split of the training data held.
        bits_per_weight: 1 or 8.
    """

    file: str
    sha256: str
    digest: str
    sparsity: float
    facts: Mapping[str, int] = field(hash=False)
    bits_per_weight: int = 1

    @classmethod
    def of(cls, mask: RelationMask, sha256: str) -> Self:
        """The entry of a mask whose file has this hash."""
        return cls(
            file=mask_file_name(mask.relation),
            sha256=sha256,
            digest=mask.digest,
            sparsity=mask.sparsity,
            facts=mask.metadata.facts,
            bits_per_weight=mask.bits_per_weight,
        )

    def to_record(self) -> dict[str, Any]:
        """The entry as the manifest writes it."""
        record = asdict(self)
        if self.bits_per_weight == 1:
            del record[_BITS]
        return record


@dataclass(frozen=True)
class Manifest:
    """A pack's table of contents; all its masks belong to one base model.

    Attributes:
        name: name of the pack.
        base_model: name of the base model, for people.
        base_digest: `sha256:<64 hex>` over all weights of the base model.
        entries: one entry for each relation.
        extra: what the maker adds (provenance, licence ...): JSON values by name.
    """

    name: str
    base_model: str
    base_digest: str
    entries: Mapping[str, PackEntry] = field(hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> str:
        """Identity of the pack, see `masks.digest.pack_digest`."""
        digests = {relation: entry.digest for relation, entry in self.entries.items()}
        return pack_digest(self.base_digest, digests)


def mask_file_name(relation: str) -> str:
    """File name of a relation's mask in a pack.

    Raises:
        MaskValueError: the relation's name is not fit for one.
    """
    return f"{check_relation_name(relation)}.safetensors"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest in one step.

    Raises:
        OSError: it cannot be written.
        TypeError, ValueError: `extra` is not JSON.
    """
    write_atomically(folder / MANIFEST_NAME, encode_manifest(manifest))


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest's file; the inverse of `parse_manifest`.

    Raises:
        TypeError, ValueError: `extra` is not JSON.
    """
    content = {
        "format_version": MANIFEST_VERSION,
        "name": manifest.name,
        "base_model": manifest.base_model,
        "base_digest": manifest.base_digest,
        "masks": {name: entry.to_record() for name, entry in sorted(manifest.entries.items())},
        "extra": dict(manifest.extra),
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """Read and check a pack's manifest; the mask files are not opened.

    Raises:
        MaskFileError: there is none, or it is refused; the message names it and says why.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise MaskFileError(str(folder), _why_no_pack(folder))
    return parse_manifest(read_whole(path), str(path))


def parse_manifest(data: bytes, source: str) -> Manifest:
    """Check a manifest's bytes; `source` names them in errors.

    Raises:
        MaskFileError: they are refused; the message says why.
    """
    try:
        return _parse(data)
    except MaskValueError as error:
        raise MaskFileError(source, str(error)) from error


def _why_no_pack(folder: Path) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    if count := sum(1 for _ in folder.glob("*.safetensors")):
        return (
            f"it holds {count} mask files but no {MANIFEST_NAME}, so that they cannot be told "
            f"from an unfinished or changed pack; write the pack anew"
        )
    return f"it is no mask pack: it holds no {MANIFEST_NAME}"


def _parse(data: bytes) -> Manifest:
    try:
        content = decode_json(data)
    except ValueError as error:
        raise MaskValueError(f"it is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise MaskValueError("it must be a JSON object")
    if content.get("format_version") != MANIFEST_VERSION:
        raise MaskValueError(
            f"format_version is {content.get('format_version')!r:.40}, but this reader knows only "
            f"{MANIFEST_VERSION!r}"
        )
    known = {"format_version", "name", "base_model", "base_digest", "masks", "extra"}
    _check_keys("the manifest", content, known)
    masks = check_mapping("masks", content["masks"])
    return Manifest(
        name=check_text("name", content["name"]),
        base_model=check_text("base_model", content["base_model"]),
        base_digest=check_digest("base_digest", content["base_digest"]),
        entries={name: _parse_entry(name, entry) for name, entry in masks.items()},
        extra=check_mapping("extra", content["extra"]),
    )


def _parse_entry(relation: str, content: object) -> PackEntry:
    entry = check_mapping(f"the entry of {relation}", content)
    bits = entry.pop(_BITS, 1)
    if bits not in BITS_PER_WEIGHT or isinstance(bits, bool):
        raise MaskValueError(f"bits_per_weight of {relation} must be 1 or 8, not {bits!r:.40}")
    _check_keys(f"the entry of {relation}", entry, {*PackEntry.__dataclass_fields__} - {_BITS})
    # Any other name could lead out of the folder.
    if entry["file"] != mask_file_name(relation):
        raise MaskValueError(
            f"the file of {relation} must be {mask_file_name(relation)!r}, "
            f"not {entry['file']!r:.160}"
        )
    if not isinstance(entry["sha256"], str) or not _SHA256.fullmatch(entry["sha256"]):
        raise MaskValueError(f"the sha256 of {relation} must be 64 hexadecimal digits")
    facts = check_mapping(f"the facts of {relation}", entry["facts"])
    return PackEntry(
        file=mask_file_name(relation),
        sha256=entry["sha256"],
        digest=check_digest(f"the digest of {relation}", entry["digest"]),
        sparsity=check_fraction(f"the sparsity of {relation}", entry["sparsity"]),
        facts={
            name: check_integer(f"the facts of {relation}", count) for name, count in facts.items()
        },
        bits_per_weight=check_integer(f"bits_per_weight of {relation}", bits),
    )


def _check_keys(what: str, content: Mapping[str, object], known: set[str]) -> None:
    for key in sorted(known ^ content.keys()):
        raise MaskValueError(f"{what} {'lacks' if key in known else 'holds the unknown'} {key!r}")
