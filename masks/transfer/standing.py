"""What lies already at a place that is not of this machine."""

from masks.errors import MaskFileError
from masks.manifest import Manifest
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.offer import Offer
from masks.transfer.remote import Remote


def standing_pack(remote: Remote, manifest: Manifest, *, replace: bool) -> Offer | None:
    """The pack that lies there, None if there is none; without `replace`, it is that of `manifest`.

    Raises:
        TransferError: another pack is there and is not to be replaced, or something that is none.
    """
    try:
        old = Offer.of(remote)
    except FileMissingError:
        return None
    except MaskFileError as error:
        raise TransferError(f"{error}; it is not replaced, name another place") from error
    if replace or old.manifest == manifest:
        return old
    what = (
        "the same masks, but described otherwise"
        if old.manifest.digest == manifest.digest
        else f"another pack, {old.manifest.name!r} ({old.manifest.digest})"
    )
    raise TransferError(f"{remote} holds {what}; replace it (--replace) or name another place")
