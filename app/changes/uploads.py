"""The folder that uploaded masks are kept in: a pack whose manifest also says when each came.

Replicas may share the folder, and people may change it as they change any pack: what is there
without a stamp of its own is a change that was made by hand, and gets one.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.catalogue import RefusedFile
from app.changes.change import Change, key_of
from app.changes.packs import (
    Marks,
    PackState,
    mark_files,
    read_pack,
    without_manifest,
)
from app.changes.stamps import Clock, Stamp
from app.errors import MaskNotKeptError, StartupError
from masks import MANIFEST_NAME, Manifest, MaskFileError, MaskPack, lock_pack
from masks.files import write_atomically
from masks.manifest import PackEntry, write_manifest
from plm import BaseModel

UPLOADS = "uploads"

_STAMPS = "changes"
_LOCK_SECONDS = 10.0


class UploadFolder:
    """A writable pack of one base. Read and write only inside `locked`.

    Attributes:
        folder: where it lies.
        refused: what is wrong with it.
    """

    def __init__(self, folder: Path, base: BaseModel, clock: Clock) -> None:
        self.folder = folder
        self._base = base
        self._clock = clock
        manifest = Manifest(UPLOADS, base.name, base.digest, entries={})
        # What an empty folder holds: the manifest is written with the first change.
        self._empty = PackState(MaskPack(folder, manifest), {}, (), {})
        self._state = self._empty
        self._marks: Marks = {}
        self._fault: str | None = None

    @classmethod
    def open(cls, folder: Path, base: BaseModel, clock: Clock) -> "UploadFolder":
        """Take a folder that is missing, empty, or a pack of the base.

        Raises:
            StartupError: it cannot be made or written, or is no pack of the base.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(None, "it is not writable")
            if mark_files(folder) and (found := MaskPack.open(folder)).base_digest != base.digest:
                raise StartupError(
                    f"RELATA_UPLOADS is {folder}, which holds masks for base {found.base_model} "
                    f"({found.base_digest}); the base loaded is {base.name} ({base.digest}). Name "
                    f"another folder"
                )
        except OSError as error:
            raise StartupError(
                f"RELATA_UPLOADS is {folder}, where nothing can be kept: {error.strerror}"
            ) from error
        except MaskFileError as error:
            raise StartupError(f"RELATA_UPLOADS is {folder}: {error.reason}") from error
        return cls(folder, base, clock)

    @property
    def name(self) -> str:
        """Name of the pack."""
        return self._state.pack.name

    @property
    def refused(self) -> tuple[RefusedFile, ...]:
        """What is wrong with the folder."""
        return self._state.refused

    @property
    def changed(self) -> bool:
        """Whether the folder was changed since it was last read or written."""
        return mark_files(self.folder) != self._marks

    def later(self, changes: Mapping[str, Change]) -> list[Change]:
        """The changes that the folder does not hold yet, or not any more."""
        stamps = self._stamps()
        broken = {key_of(file.relation) for file in self.refused if file.relation}
        return [
            change
            for key, change in changes.items()
            if key not in stamps
            or stamps[key] < change.stamp
            or (stamps[key] == change.stamp and key in broken)
        ]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who reads and writes the folder.

        Raises:
            MaskNotKeptError: it cannot be written, inside too.
        """
        try:
            with lock_pack(self.folder, timeout=_LOCK_SECONDS):
                yield
        except OSError as error:
            raise MaskNotKeptError(error.strerror or str(error)) from error

    def read(self) -> list[Change]:
        """Everything that the folder says; nothing where it has not changed since the last time.

        Raises:
            OSError: a change by hand cannot be given its stamp.
        """
        marks = mark_files(self.folder)
        if marks == self._marks:
            return []
        before = self._state
        self._marks = marks
        self._fault = None
        try:
            self._state = self._read() if marks else self._empty
        except MaskFileError as error:
            self._fault = error.reason
            self._state = without_manifest(before, error)
        return [] if self._fault else self._changes()

    def write(self, changes: Sequence[Change]) -> None:
        """Keep changes, each unless the folder holds a later one for its relation.

        Raises:
            MaskNotKeptError: the folder is not to be written, because its manifest is refused.
            OSError: it cannot be written.
        """
        if self._fault:
            raise MaskNotKeptError(f"its manifest is refused: {self._fault}")
        wanted = self.later({change.key: change for change in changes})
        if not wanted:
            return
        entries = dict(self._state.pack.manifest.entries)
        served = dict(self._state.served)
        gone: list[Path] = []
        for change in wanted:
            for relation in [name for name in entries if key_of(name) == change.key]:
                path = self.folder / entries.pop(relation).file
                served.pop(relation, None)
                if change.served is None:
                    gone.append(path)
                elif path.name != change.served.file:
                    # At once: where file names ignore case, it would be the new one later.
                    path.unlink(missing_ok=True)
            if (put := change.served) is not None:
                write_atomically(self.folder / put.file, put.data)
                entries[put.mask.relation] = PackEntry.of(put.mask, put.sha256)
                served[put.mask.relation] = put
        self._write_manifest(
            entries, self._stamps() | {change.key: change.stamp for change in wanted}
        )
        # The manifest before: a listed mask is always there.
        for path in gone:
            path.unlink(missing_ok=True)
        self._marks = mark_files(self.folder)
        written = {change.key for change in wanted}
        refused = tuple(
            file
            for file in self._state.refused
            if file.relation is None or key_of(file.relation) not in written
        )
        self._state = replace(self._state, served=served, refused=refused, marks=self._marks)

    def _read(self) -> PackState:
        state = read_pack(self.folder, self._base, self._state)
        manifest = state.pack.manifest
        if manifest.base_digest != self._base.digest:
            raise MaskFileError(
                str(self.folder / MANIFEST_NAME),
                f"it was made for base {manifest.base_model} ({manifest.base_digest}), but the "
                f"base loaded is {self._base.digest}",
            )
        return state

    def _changes(self) -> list[Change]:
        """What the manifest says, after stamping what was changed by hand."""
        manifest = self._state.pack.manifest
        stamps = self._stamps()
        for stamp in stamps.values():
            self._clock.see(stamp)
        changes = {}
        for relation, entry in manifest.entries.items():
            key, served = key_of(relation), self._state.served.get(relation)
            if served is None or served.sha256 != entry.sha256:
                # Refused: what is in service stays.
                continue
            recorded = stamps.get(key)
            if recorded is None or recorded.sha256 != entry.sha256:
                recorded = Stamp(self._clock.next(), entry.sha256)
            changes[key] = Change(key, recorded, served)
        listed = {key_of(relation) for relation in manifest.entries}
        for key, stamp in stamps.items():
            if key not in listed:
                removed = Stamp(self._clock.next(), "") if stamp.sha256 else stamp
                changes[key] = Change(key, removed, None)
        made = {key: change.stamp for key, change in changes.items()}
        if any(stamps.get(key) != stamp for key, stamp in made.items()):
            self._write_manifest(manifest.entries, stamps | made)
            self._marks = mark_files(self.folder)
        return list(changes.values())

    def _stamps(self) -> dict[str, Stamp]:
        """The stamps of the manifest; one that is unreadable counts as none."""
        recorded = self._state.pack.manifest.extra.get(_STAMPS)
        stamps = {}
        for key, text in recorded.items() if isinstance(recorded, Mapping) else ():
            try:
                stamps[key] = Stamp.parse(str(text))
            except ValueError:
                continue
        return stamps

    def _write_manifest(
        self, entries: Mapping[str, PackEntry], stamps: Mapping[str, Stamp]
    ) -> None:
        manifest = self._state.pack.manifest
        texts = {key: stamp.text for key, stamp in sorted(stamps.items())}
        manifest = replace(manifest, entries=entries, extra={**manifest.extra, _STAMPS: texts})
        write_manifest(self.folder, manifest)
        self._state = replace(self._state, pack=MaskPack(self.folder, manifest))
