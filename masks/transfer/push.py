"""Sending a pack."""

from pathlib import Path

from masks.store import MaskPack
from masks.transfer.errors import TransferError
from masks.transfer.remote import Delivery, Remote

_SHOWN = 3


def push_pack(folder: str | Path, remote: Remote, *, replace: bool = False) -> Delivery:
    """Verify a pack, every file of it, and send it.

    Raises:
        MaskFileError: the folder holds no pack.
        TransferError: the pack is not sound, or cannot be sent there.
    """
    pack = MaskPack.open(folder)
    if problems := pack.verify():
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise TransferError(
            f"nothing was sent, as pack {pack.name!r} is not sound: "
            f"{'; '.join(problems[:_SHOWN])}{more}"
        )
    return remote.send(pack, replace=replace)
