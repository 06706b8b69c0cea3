"""Mask packs: a folder of `<relation>.safetensors` files of one base model, and a manifest.

Mask files are written first and the manifest last, so that a pack is never listed before it is
whole. A writer that is stopped half-way leaves files that disagree with the manifest, which
loading refuses. Writers wait for each other (`masks.locking`); readers may come at any time.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from masks.canonical_json import encode_json
from masks.errors import (
    MaskFileError,
    MaskMismatchError,
    MaskValueError,
    UnknownRelationError,
)
from masks.files import read_whole, write_atomically
from masks.format import dump_mask, parse_mask
from masks.locking import lock_pack
from masks.manifest import (
    MANIFEST_NAME,
    Manifest,
    PackEntry,
    mask_file_name,
    read_manifest,
    write_manifest,
)
from masks.mask import RelationMask
from masks.rules import check_mapping, check_text


@dataclass(frozen=True)
class MaskPack:
    """A pack as its manifest lists it; masks are read, and checked, when asked for.

    Attributes:
        folder: where the pack lies.
        manifest: its table of contents, as it was when the pack was opened.
    """

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Read and check the manifest.

        Raises:
            MaskFileError: no such folder, no manifest, or a manifest that is refused.
        """
        return cls(Path(folder), read_manifest(Path(folder)))

    @property
    def name(self) -> str:
        """Name of the pack."""
        return self.manifest.name

    @property
    def base_model(self) -> str:
        """Name of the base model, for people."""
        return self.manifest.base_model

    @property
    def base_digest(self) -> str:
        """Digest of the base model all masks belong to."""
        return self.manifest.base_digest

    @property
    def digest(self) -> str:
        """Identity of the pack: of its base, its relations and their masks' bits."""
        return self.manifest.digest

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations listed, sorted."""
        return tuple(sorted(self.manifest.entries))

    def load(self, relation: str) -> RelationMask:
        """Read one mask and hold it against the manifest.

        Raises:
            UnknownRelationError: the manifest does not list the relation.
            MaskFileError: the file is missing, refused, or not the one the manifest describes.
        """
        return self.parse(relation, self.read(relation))

    def read(self, relation: str) -> bytes:
        """The bytes of a mask's file, not looked into yet.

        Raises:
            UnknownRelationError: the manifest does not list the relation.
            MaskFileError: the file is missing.
        """
        return read_whole(self.folder / self._entry(relation).file)

    def parse(self, relation: str, data: bytes) -> RelationMask:
        """The mask of a file's bytes, held against the manifest; its arrays are views of them.

        Raises:
            UnknownRelationError: the manifest does not list the relation.
            MaskFileError: the bytes are refused, or are not those the manifest describes.
        """
        entry = self._entry(relation)
        path = self.folder / entry.file
        file_hash = sha256(data).hexdigest()
        if file_hash != entry.sha256:
            raise MaskFileError(
                str(path), f"its sha256 is {file_hash}, but the manifest says {entry.sha256}"
            )
        mask = parse_mask(data, str(path))
        self._check_agreement(path, relation, mask, entry)
        return mask

    def load_all(self) -> dict[str, RelationMask]:
        """Read every mask, by relation, in order of name; raises as `load` does."""
        return {relation: self.load(relation) for relation in self.relations}

    def verify(self) -> list[str]:
        """One sentence for each problem: a mask that does not load, a mask file not listed."""
        problems = []
        for relation in self.relations:
            try:
                self.load(relation)
            except MaskFileError as error:
                problems.append(str(error))
        listed = {entry.file for entry in self.manifest.entries.values()}
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in listed:
                problems.append(f"{path}: the manifest does not list it")
        return problems

    def _entry(self, relation: str) -> PackEntry:
        entry = self.manifest.entries.get(relation)
        if entry is None:
            raise UnknownRelationError(relation, self.relations)
        return entry

    def _check_agreement(
        self, path: Path, relation: str, mask: RelationMask, entry: PackEntry
    ) -> None:
        for what, found, listed in (
            ("relation", mask.relation, relation),
            ("base_digest", mask.base_digest, self.base_digest),
            ("bits_per_weight", mask.bits_per_weight, entry.bits_per_weight),
            ("digest", mask.digest, entry.digest),
            ("sparsity", mask.sparsity, entry.sparsity),
            ("facts", mask.metadata.facts, entry.facts),
        ):
            if found != listed:
                raise MaskFileError(
                    str(path), f"its {what} is {found!r}, but the manifest says {listed!r}"
                )


def write_pack(
    folder: str | Path,
    masks: Iterable[RelationMask],
    *,
    name: str,
    extra: Mapping[str, Any] | None = None,
) -> MaskPack:
    """Write a pack; `extra` (JSON values by name) goes into the manifest.

    The folder is made if need be. A pack that lies there is replaced: mask files that only its
    manifest lists are removed at the end, files it does not know are left alone.

    Raises:
        MaskValueError: no masks, a relation twice (case ignored), a bad name or `extra`.
        MaskMismatchError: the masks belong to different base models.
        MaskFileError: the folder holds a manifest that is refused.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    masks = list(masks)
    if not masks:
        raise MaskValueError("a pack holds at least one mask")
    manifest = Manifest(
        name=check_text("the name of a pack", name),
        base_model=masks[0].metadata.base_model,
        base_digest=masks[0].base_digest,
        entries={},
        extra=_check_extra(extra or {}),
    )
    # All refusals come before the first write.
    files = {}
    for mask in masks:
        if mask.relation in manifest.entries:
            raise MaskValueError(f"relation {mask.relation} comes twice")
        manifest, files[mask.relation] = _with_mask(manifest, mask)
    folder.mkdir(parents=True, exist_ok=True)
    with lock_pack(folder):
        old = read_manifest(folder).entries if (folder / MANIFEST_NAME).exists() else {}
        for relation, data in files.items():
            write_atomically(folder / mask_file_name(relation), data)
        write_manifest(folder, manifest)
        for relation in old.keys() - manifest.entries.keys():
            (folder / old[relation].file).unlink(missing_ok=True)
    return MaskPack(folder, manifest)


def add_to_pack(folder: str | Path, mask: RelationMask) -> MaskPack:
    """Add a mask to a pack, or replace the one of its relation; the pack as it is then.

    Raises:
        MaskValueError: a relation whose name differs only in case is there.
        MaskMismatchError: the mask belongs to another base model than the pack.
        MaskFileError: the folder holds no pack, or its manifest is refused.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    with _locked_pack(folder):
        manifest, data = _with_mask(read_manifest(folder), mask)
        write_atomically(folder / mask_file_name(mask.relation), data)
        write_manifest(folder, manifest)
    return MaskPack(folder, manifest)


def remove_from_pack(folder: str | Path, relation: str) -> MaskPack:
    """Remove a relation's mask from a pack; the pack as it is then, perhaps empty.

    Raises:
        UnknownRelationError: the manifest does not list the relation.
        MaskFileError: the folder holds no pack, or its manifest is refused.
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    with _locked_pack(folder):
        manifest = read_manifest(folder)
        if relation not in manifest.entries:
            raise UnknownRelationError(relation, manifest.entries)
        entries = {name: entry for name, entry in manifest.entries.items() if name != relation}
        left = replace(manifest, entries=entries)
        # The manifest first: a listed mask is always there.
        write_manifest(folder, left)
        (folder / mask_file_name(relation)).unlink(missing_ok=True)
    return MaskPack(folder, left)


@contextmanager
def _locked_pack(folder: Path) -> Iterator[None]:
    # A folder that holds no pack is refused without a trace in it.
    read_manifest(folder)
    with lock_pack(folder):
        yield


def _with_mask(manifest: Manifest, mask: RelationMask) -> tuple[Manifest, bytes]:
    """The manifest with the mask listed, and the bytes of the mask's file."""
    # The digest alone decides: a base has many names (a hub's id, a local folder).
    if mask.base_digest != manifest.base_digest:
        raise MaskMismatchError(
            f"mask {mask.relation} belongs to base {mask.metadata.base_model} "
            f"({mask.base_digest}), but pack {manifest.name!r} to {manifest.base_model} "
            f"({manifest.base_digest})"
        )
    for other in manifest.entries:
        # On file systems that ignore case the one file would overwrite the other.
        if other != mask.relation and other.casefold() == mask.relation.casefold():
            raise MaskValueError(f"relations {other} and {mask.relation} differ only in case")
    data = dump_mask(mask)
    entry = PackEntry.of(mask, sha256(data).hexdigest())
    return replace(manifest, entries={**manifest.entries, mask.relation: entry}), data


def _check_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    checked = check_mapping("extra", extra)
    try:
        encode_json(checked)
    except (TypeError, ValueError) as error:
        raise MaskValueError(f"extra must be JSON values ({error})") from error
    return checked
