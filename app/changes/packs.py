"""A folder of masks as it was last read, and read again when it has changed.

What is in service stays there until there is a good file in its place: a file that is refused,
half written or gone while the manifest still lists it replaces nothing.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from app.catalogue import ListedPack, RefusedFile, ServedMask
from app.changes.checking import check_mask
from app.errors import StartupError
from masks import MANIFEST_NAME, MaskError, MaskFileError, MaskPack, is_being_written
from plm import BaseModel

_SUFFIX = ".safetensors"

# Of each file that matters: time of its last change in ns, size in bytes, inode.
Marks = Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class PackState:
    """What a folder held when it was read.

    Attributes:
        pack: its manifest.
        served: the masks in service by relation; of a refused file, the one before it.
        refused: what is wrong with the folder.
        marks: the state of its files, taken before any was read.
    """

    pack: MaskPack
    served: Mapping[str, ServedMask]
    refused: tuple[RefusedFile, ...]
    marks: Marks = field(repr=False)

    @property
    def listed(self) -> ListedPack:
        """What is said of the pack."""
        return ListedPack(self.pack.name, self.pack.base_model, len(self.pack.relations))


def read_pack(folder: Path, base: BaseModel, before: PackState | None = None) -> PackState:
    """Read a pack; files that `before` has read are not read again.

    Raises:
        MaskFileError: the folder is no pack, or its manifest is refused.
    """
    marks = mark_files(folder)
    pack = MaskPack.open(folder)
    unchanged = {} if before is None else _unchanged(before, pack, marks)
    served: dict[str, ServedMask] = {}
    refused: list[RefusedFile] = []
    for relation in pack.relations:
        if relation in unchanged:
            served[relation] = unchanged[relation]
            continue
        try:
            served[relation] = _load(pack, relation, base)
        except MaskError as error:
            file = pack.manifest.entries[relation].file
            refused.append(RefusedFile(relation, pack.name, file, reason_of(error), folder))
            if before is not None and relation in before.served:
                served[relation] = before.served[relation]
    refused.extend(_unlisted(pack, marks))
    return PackState(pack, served, tuple(refused), marks)


def mark_files(folder: Path) -> Marks:
    """The state of a pack's files: the manifest, and all mask files. Empty without a folder."""
    marks = {}
    # What is gone by now, a file or the folder, is seen when it is looked for.
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == MANIFEST_NAME or _is_mask_file(entry.name):
                with suppress(OSError):
                    status = entry.stat()
                    marks[entry.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return marks


def reason_of(error: MaskError) -> str:
    """Why a file was refused, without the paths of this machine."""
    return error.reason if isinstance(error, MaskFileError) else str(error)


def check_distinct(folders: Sequence[Path]) -> None:
    """Check that packs can be served together, by their manifests alone.

    Raises:
        MaskFileError: a folder is no pack, or its manifest is refused.
        StartupError: two packs define the same relation.
    """
    owners: dict[str, Path] = {}
    for folder in folders:
        for relation in MaskPack.open(folder).relations:
            if (owner := owners.setdefault(relation, folder)) is not folder:
                raise StartupError(
                    f"relation {relation} is in two packs, {owner} and {folder}; remove it from "
                    f"one, or leave one pack out of RELATA_PACKS"
                )


class WatchedPack:
    """A pack of the settings.

    Attributes:
        state: what is served of it.
    """

    def __init__(self, state: PackState, base: BaseModel) -> None:
        self.state = state
        self._base = base
        self._marks = state.marks

    @classmethod
    def open(cls, folder: Path, base: BaseModel) -> Self:
        """Read a pack for the first time.

        Raises:
            MaskFileError: the folder is no pack, or its manifest is refused.
        """
        return cls(read_pack(folder, base), base)

    def poll(self) -> None:
        """Read the folder again if it has changed, unless it is changing now."""
        folder = self.state.pack.folder
        marks = mark_files(folder)
        if marks == self._marks or is_being_written(folder):
            return
        state = self._read(folder)
        if is_being_written(folder) or mark_files(folder) != marks:
            # What was read may be half of a change; the next poll sees the whole.
            return
        self._marks = marks
        self.state = state

    def _read(self, folder: Path) -> PackState:
        try:
            return read_pack(folder, self._base, self.state)
        except MaskFileError as error:
            return without_manifest(self.state, error)


def without_manifest(state: PackState, error: MaskFileError) -> PackState:
    """All that is served stays, and it is said why the manifest is refused."""
    refused = RefusedFile(None, state.pack.name, MANIFEST_NAME, error.reason, state.pack.folder)
    others = [file for file in state.refused if file.file != MANIFEST_NAME]
    return replace(state, refused=(refused, *others))


def _load(pack: MaskPack, relation: str, base: BaseModel) -> ServedMask:
    data = pack.read(relation)
    mask = pack.parse(relation, data)
    check_mask(mask, base)
    return ServedMask.of(mask, data, pack.name)


def _unchanged(before: PackState, pack: MaskPack, marks: Marks) -> dict[str, ServedMask]:
    """The masks in service of which neither the manifest's entry nor the file has changed."""
    if before.pack.name != pack.name:
        return {}
    entries, old = pack.manifest.entries, before.pack.manifest.entries
    doubtful = {file.relation for file in before.refused}
    return {
        relation: served
        for relation, served in before.served.items()
        if relation in entries
        and relation not in doubtful
        and entries[relation] == old.get(relation)
        and entries[relation].sha256 == served.sha256
        and marks.get(served.file) == before.marks.get(served.file)
    }


def _unlisted(pack: MaskPack, marks: Marks) -> list[RefusedFile]:
    listed = {entry.file for entry in pack.manifest.entries.values()}
    reason = "the manifest of its pack does not list it"
    return [
        RefusedFile(None, pack.name, name, reason, pack.folder)
        for name in sorted(marks)
        if _is_mask_file(name) and name not in listed
    ]


def _is_mask_file(name: str) -> bool:
    # A file that begins with a dot is one being written.
    return name.endswith(_SUFFIX) and not name.startswith(".")
