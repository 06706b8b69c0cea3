"""What a place offers: its manifest, read and checked, from which files are then fetched."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from masks.container import declared_size
from masks.errors import MaskFileError, MaskMismatchError, MaskValueError, UnknownRelationError
from masks.manifest import MANIFEST_NAME, Manifest, encode_manifest, parse_manifest
from masks.rules import check_digest
from masks.store import MaskPack
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.remote import (
    DOCUMENTS,
    MASK_LIMIT,
    TEXT_LIMIT,
    Delivery,
    Remote,
    too_long,
    why,
)
from masks.transfer.staging import holds_already, staged_folder, take_place


@dataclass(frozen=True)
class Offer:
    """A pack that a place offers; nothing but the manifest was fetched yet.

    Attributes:
        remote: the place.
        manifest: what is to be fetched from there.
        data: the manifest's file.
    """

    remote: Remote
    manifest: Manifest
    data: bytes

    @classmethod
    def of(cls, remote: Remote) -> Self:
        """Fetch and check the manifest.

        Raises:
            FileMissingError: the place has none, so that it is no pack.
            TransferError: it cannot be had.
            MaskFileError: it is refused, e.g. as of an unknown version.
        """
        data = b"".join(remote.read(MANIFEST_NAME, TEXT_LIMIT))
        return cls(remote, parse_manifest(data, f"{remote}/{MANIFEST_NAME}"), data)

    def check_digest(self, expected: str) -> None:
        """Refuse a pack other than the one with that digest.

        Raises:
            MaskValueError: `expected` is no digest.
            MaskMismatchError: the pack has another one.
        """
        check_digest("the expected digest", expected)
        if self.manifest.digest != expected:
            raise MaskMismatchError(
                f"{self.remote}: the digest of the pack is {self.manifest.digest}, but {expected} "
                f"was expected"
            )

    def check_base(self, name: str, digest: str) -> None:
        """Refuse a pack for another base than the one with that name and digest.

        Raises:
            MaskMismatchError: it is for another one.
        """
        if self.manifest.base_digest != digest:
            raise MaskMismatchError(
                f"{self.remote}: the pack is for base {self.manifest.base_model} "
                f"({self.manifest.base_digest}), but {name} is {digest}"
            )

    def only(self, relations: Collection[str]) -> Self:
        """The offer of these relations alone.

        Raises:
            UnknownRelationError: the pack does not have one of them.
        """
        for relation in relations:
            if relation not in self.manifest.entries:
                raise UnknownRelationError(relation, self.manifest.entries)
        entries = {name: e for name, e in self.manifest.entries.items() if name in relations}
        manifest = replace(self.manifest, entries=entries)
        return replace(self, manifest=manifest, data=encode_manifest(manifest))

    def fetch(self, folder: str | Path, *, replace: bool = False) -> Delivery:
        """Fetch all files, check every mask, and put the pack in its place in one step.

        Until then it lies in a hidden folder beside the place, which is removed whatever happens.
        With `replace`, another pack in the folder goes.

        Raises:
            TransferError: the folder holds something else, a file cannot be had, or the folder
                cannot be written.
            MaskFileError: a mask is refused, or is not the one that the manifest describes.
        """
        # A link to a folder stays one: what it points to is replaced.
        target = Path(folder).resolve()
        if holds_already(target, self.manifest, replace=replace):
            return Delivery(str(target), already_there=True)
        try:
            with staged_folder(target) as staged:
                self._fetch_into(staged)
                take_place(staged, target, self.manifest, replace=replace)
        except OSError as error:
            raise TransferError(f"{target} cannot be written ({why(error)})") from error
        return Delivery(str(target))

    def check_masks(self) -> None:
        """Fetch every mask and hold it against the manifest; nothing is kept.

        Raises:
            TransferError: a file cannot be had.
            MaskFileError: a mask is refused, or is not the one that the manifest describes.
        """
        for _ in self._masks():
            pass

    def _fetch_into(self, staged: Path) -> None:
        for name, data in self._masks():
            # "x": relations that differ only in case are one file on some file systems.
            with (staged / name).open("xb") as file:
                file.write(data)
        for name in DOCUMENTS:
            try:
                document = b"".join(self.remote.read(name, TEXT_LIMIT))
            except FileMissingError:
                continue
            (staged / name).write_bytes(document)
        (staged / MANIFEST_NAME).write_bytes(self.data)

    def _masks(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each mask's file, checked."""
        # The folder names the files in messages, which are replaced by those of the place.
        pack = MaskPack(Path(), self.manifest)
        for relation in pack.relations:
            name = self.manifest.entries[relation].file
            data = self._read_mask(name)
            try:
                pack.parse(relation, data)
            except MaskFileError as error:
                raise MaskFileError(f"{self.remote}/{name}", error.reason) from error
            yield name, data

    def _read_mask(self, name: str) -> bytes:
        """A mask's file, no byte longer than its own header says."""
        source = f"{self.remote}/{name}"
        data, size = bytearray(), None
        for chunk in self.remote.read(name, MASK_LIMIT):
            data += chunk
            if size is None:
                try:
                    size = declared_size(data)
                except MaskValueError as error:
                    raise MaskFileError(source, str(error)) from error
            if size is not None and len(data) > size:
                raise too_long(source, size)
        if size is not None and len(data) < size:
            raise MaskFileError(source, f"it is truncated: {len(data)} of {size} bytes came")
        return bytes(data)
