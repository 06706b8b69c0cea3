"""All masks that are served, and every change of them: one place, one order.

The packs of the settings are the ground; over them lie the changes that were made while serving,
for each relation the latest. A change holds whatever the packs say, also as they change. The same
changes in any order, each any number of times, lead to the same masks, so that replicas agree
once they have heard of all of them.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from app.catalogue import Catalogue, RefusedFile, ServedMask
from app.changes.change import Change, key_of
from app.changes.checking import read_mask
from app.changes.merging import difference, merge, tell_refused
from app.changes.packs import WatchedPack, reason_of
from app.changes.stamps import Clock, Stamp
from app.changes.uploads import UPLOADS, UploadFolder
from app.conditions import Conditions
from app.errors import MaskNotKeptError, MaskRefusedError, StartupError
from masks import MaskError, RelationMask, UnknownRelationError, is_being_written
from plm import BaseModel

logger = logging.getLogger(__name__)

# What stands for the pack of a change that another replica sent.
_REDIS = "redis"


@dataclass(frozen=True, eq=False)
class Accepted:
    """A mask that was put here.

    Attributes:
        change: of its relation.
        served: the mask.
        created: whether the relation was not served before.
        persisted: whether the folder of uploads holds it.
    """

    change: Change
    served: ServedMask
    created: bool
    persisted: bool


class MaskRegister:
    """The masks of one base as they are now. Safe to call from several threads.

    Whoever reads takes `catalogue` once and keeps it to the end: it is never changed, but replaced.

    Args:
        base: the base.
        packs: those of the settings.
        folder: where uploads are kept; None keeps them in memory alone.
        clock: stamps the changes made here.

    Attributes:
        catalogue: the masks served now.

    Raises:
        MaskNotKeptError: the folder is being written all the time, or cannot be.
    """

    def __init__(
        self,
        base: BaseModel,
        packs: Sequence[WatchedPack],
        folder: UploadFolder | None,
        clock: Clock,
    ) -> None:
        self._base = base
        self._packs = tuple(packs)
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._changes: dict[str, Change] = {}
        self._foreign: tuple[RefusedFile, ...] = ()
        self._cannot_keep = False
        if folder is not None:
            with folder.locked():
                self._merge(folder.read())
        self.catalogue = self._merged()
        tell_refused(Catalogue((), {}, ()), self.catalogue)

    @classmethod
    def load(
        cls, base: BaseModel, packs: Sequence[Path], uploads: Path | None = None
    ) -> "MaskRegister":
        """Read every mask. A file that is refused is logged and left out.

        Raises:
            MaskFileError: a pack cannot be opened.
            StartupError: nothing can be kept in the folder of uploads, or it is one of the packs.
            MaskNotKeptError: the folder of uploads is being written all the time.
        """
        if uploads is not None and uploads.resolve() in [folder.resolve() for folder in packs]:
            raise StartupError(
                f"RELATA_UPLOADS is {uploads}, which is in RELATA_PACKS; packs are not written to. "
                f"Name another folder, or leave the pack out of RELATA_PACKS"
            )
        clock = Clock()
        return cls(
            base,
            [WatchedPack.open(folder, base) for folder in packs],
            None if uploads is None else UploadFolder.open(uploads, base, clock),
            clock,
        )

    def put(self, relation: str, data: bytes, conditions: Conditions) -> Accepted:
        """Serve a mask file from now on.

        Raises:
            MaskRefusedError: it is no mask of the relation that the base can run under.
            PreconditionError: another file is served than the request is about.
            MaskNotKeptError: it cannot be written to the folder of uploads.
        """
        mask = self._read(data)
        if mask.relation != relation:
            raise MaskRefusedError(
                f"it is the mask of relation {mask.relation}, but the path names {relation!r:.160}"
            )
        with self._changing():
            current = self.catalogue.served.get(relation)
            conditions.check(None if current is None else current.sha256)
            self._refuse_other_spelling(relation)
            key, served = key_of(relation), ServedMask.of(mask, data, self._pack)
            change = self._changes.get(key)
            if change is None or change.served is None or change.stamp.sha256 != served.sha256:
                change = Change(key, Stamp(self._clock.next(), served.sha256), served)
            self._make(change)
            return Accepted(change, served, current is None, self._folder is not None)

    def delete(self, relation: str, conditions: Conditions) -> Change:
        """Serve a relation no more, whatever the packs say.

        Raises:
            UnknownRelationError: there is no such relation, neither served nor refused.
            PreconditionError: another file is served than the request is about.
            MaskNotKeptError: it cannot be written to the folder of uploads.
        """
        with self._changing():
            current = self.catalogue.served.get(relation)
            refused = {file.relation for file in self.catalogue.refused}
            if current is None and relation not in refused:
                raise UnknownRelationError(relation, self.catalogue.relations)
            conditions.check(None if current is None else current.sha256)
            change = Change(key_of(relation), Stamp(self._clock.next(), ""), None)
            self._make(change)
            return change

    def poll(self) -> bool:
        """Look at the folders; whether the masks served have changed."""
        with self._lock:
            for pack in self._packs:
                pack.poll()
            if self._folder is not None and not is_being_written(self._folder.folder):
                self._keep()
            return self._publish()

    def changes(self) -> Mapping[str, Change]:
        """The changes that hold now, by key."""
        with self._lock:
            return dict(self._changes)

    def examine(self, key: str, stamp: Stamp, data: bytes) -> Change:
        """Check a change of another replica as an upload is checked; it is not made yet.

        Raises:
            MaskRefusedError: it cannot be served.
        """
        with self._lock:
            # A change that is made here must be later, be this one good or not.
            self._clock.see(stamp)
        if stamp.sha256 != (sha256(data).hexdigest() if data else ""):
            raise MaskRefusedError("it is not the file that its stamp names")
        if not data:
            return Change(key, stamp, None)
        mask = self._read(data)
        if key_of(mask.relation) != key:
            raise MaskRefusedError(f"it is the mask of relation {mask.relation}")
        return Change(key, stamp, ServedMask.of(mask, data, self._pack))

    def take(self, changes: Iterable[Change]) -> bool:
        """Make changes of other replicas; whether other masks are served now."""
        with self._lock:
            self._merge(changes)
            self._keep()
            return self._publish()

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Say which changes of other replicas cannot be made, by key, and why."""
        with self._lock:
            self._foreign = tuple(
                RefusedFile(None, _REDIS, key, reason) for key, reason in sorted(reasons.items())
            )
            self._publish()

    @property
    def base_digest(self) -> str:
        """The base of all masks."""
        return self._base.digest

    @property
    def _pack(self) -> str:
        return UPLOADS if self._folder is None else self._folder.name

    def _read(self, data: bytes) -> RelationMask:
        try:
            return read_mask(data, "the mask file", self._base)
        except MaskError as error:
            raise MaskRefusedError(reason_of(error)) from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Be the only one who changes masks, in the folder of uploads too, and know its state."""
        with self._lock:
            if self._folder is None:
                yield
                return
            with self._folder.locked():
                self._merge(self._folder.read())
                self._publish()
                yield

    def _refuse_other_spelling(self, relation: str) -> None:
        for other in self.catalogue.relations:
            if other != relation and key_of(other) == key_of(relation):
                raise MaskRefusedError(
                    f"relation {other} is served, and {relation} differs from it only in case; "
                    f"name it otherwise, or delete {other} first"
                )

    def _make(self, change: Change) -> None:
        if self._folder is not None:
            self._folder.write([change])
        self._merge([change])
        self._publish()

    def _merge(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self._clock.see(change.stamp)
            if change.follows(self._changes.get(change.key)):
                self._changes[change.key] = change

    def _keep(self) -> None:
        """Learn what the folder of uploads has, and give it what it lacks."""
        folder = self._folder
        if folder is None or not (folder.changed or folder.later(self._changes)):
            return
        try:
            with folder.locked():
                self._merge(folder.read())
                folder.write(folder.later(self._changes))
        except MaskNotKeptError as error:
            if not self._cannot_keep:
                logger.error("masks are changed in memory only: %s", error.reason)
            self._cannot_keep = True
        else:
            self._cannot_keep = False

    def _publish(self) -> bool:
        """Let requests that come from now on see the masks as they are; whether that is new."""
        before, after = self.catalogue, self._merged()
        tell_refused(before, after)
        changed = difference(before, after)
        if changed:
            logger.info("masks changed: %s", changed)
        if changed or after.refused != before.refused or after.packs != before.packs:
            self.catalogue = after
        return bool(changed)

    def _merged(self) -> Catalogue:
        refused = () if self._folder is None else self._folder.refused
        packs = [pack.state for pack in self._packs]
        return merge(packs, self._changes, (*refused, *self._foreign))
