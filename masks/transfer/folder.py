"""A folder of this machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from masks.store import MaskPack
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.offer import Offer
from masks.transfer.remote import Delivery, bounded, read_path, why


@dataclass(frozen=True)
class LocalFolder:
    """A pack's folder."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def read(self, name: str, limit: int) -> Iterator[bytes]:
        """See `Remote.read`."""
        path = self.folder / name
        if not self.folder.is_dir():
            raise FileMissingError(f"{self.folder}: there is no such folder")
        if not path.is_file():
            raise FileMissingError(f"{path}: there is no such file")
        try:
            yield from bounded(read_path(path), str(path), limit)
        except OSError as error:
            raise TransferError(f"{path} cannot be read ({why(error)})") from error

    def send(self, pack: MaskPack, *, replace: bool) -> Delivery:
        """See `Remote.send`; a push to a folder is a pull from one."""
        return Offer.of(LocalFolder(pack.folder)).fetch(self.folder, replace=replace)
