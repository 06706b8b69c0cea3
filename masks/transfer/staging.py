"""How a pack takes its place: made beside it, and moved there in one step."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from masks.errors import MaskFileError
from masks.locking import LOCK_NAME, lock_pack
from masks.manifest import MANIFEST_NAME, Manifest
from masks.store import MaskPack
from masks.transfer.errors import TransferError
from masks.transfer.remote import DOCUMENTS

_LOCK_SECONDS = 10


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new hidden folder beside the target, gone at the end unless it was moved; raises OSError.

    Beside it, as a folder moves in one step within one file system only.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent / f".{target.name}.{uuid4().hex}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def holds_already(target: Path, manifest: Manifest, *, replace: bool) -> bool:
    """Whether the target holds this very pack, whole; never where it is to be replaced.

    Raises:
        TransferError: the target holds what must not be replaced, or is not to be.
    """
    if _is_free(target):
        return False
    if replace:
        _check_replaceable(target)
        return False
    if difference := _difference(target, manifest):
        raise TransferError(
            f"{target} exists already and {difference}; replace it (--replace) or name another "
            f"folder"
        )
    return True


def take_place(staged: Path, target: Path, manifest: Manifest, *, replace: bool) -> None:
    """Move the staged folder to the target, in place of a pack there if `replace`.

    Raises:
        TransferError: something came to lie there meanwhile, and is not to be replaced.
        OSError: the target cannot be written, or another writer does not let go of it.
    """
    for path in staged.iterdir():
        _flush(path)
    if _is_free(target):
        staged.rename(target)
        return
    # Somebody else was faster; whether it is the same pack does not matter for what is said.
    if not replace:
        raise TransferError(f"{target} was made by somebody else meanwhile; nothing was changed")
    with lock_pack(target, timeout=_LOCK_SECONDS), staged_folder(target) as aside:
        _check_replaceable(target)
        old = aside / "old"
        target.rename(old)
        try:
            staged.rename(target)
        except BaseException:
            old.rename(target)
            raise


def _is_free(target: Path) -> bool:
    if target.is_dir():
        return not any(target.iterdir())
    return not os.path.lexists(target)


def _difference(target: Path, manifest: Manifest) -> str | None:
    """How what lies at the target differs from the pack, as the end of a sentence."""
    try:
        pack = MaskPack.open(target)
    except MaskFileError as error:
        return f"holds no pack ({error.reason})"
    if pack.digest != manifest.digest:
        return f"holds another pack, {pack.name!r} ({pack.digest})"
    if pack.manifest != manifest:
        return "holds the same masks, but described otherwise"
    if problems := pack.verify():
        return f"holds this pack, but not sound: {problems[0]}"
    return None


def _check_replaceable(target: Path) -> None:
    """Nobody's files go but those of a pack."""
    if not target.is_dir():
        raise TransferError(f"{target} is no folder, and is not replaced; name another one")
    try:
        MaskPack.open(target)
    except MaskFileError as error:
        raise TransferError(
            f"{target} holds no pack, and is not replaced ({error.reason}); name another folder"
        ) from error
    known = {MANIFEST_NAME, LOCK_NAME, *DOCUMENTS}
    for path in sorted(target.iterdir()):
        if path.is_dir() or (path.name not in known and path.suffix != ".safetensors"):
            raise TransferError(
                f"{target} holds {path.name!r}, which is of no pack, and is not replaced; move "
                f"that away or name another folder"
            )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
