"""A folder in a store that fsspec knows (s3://, gs://, az://, memory:// ...)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from masks.errors import MaskFileError
from masks.store import MaskPack
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.remote import Delivery, bounded, pack_files, read_file, why
from masks.transfer.standing import standing_pack


@dataclass(frozen=True)
class StoreFolder:
    """A URL of a store below which the files of a pack lie; its settings are fsspec's."""

    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    def read(self, name: str, limit: int) -> Iterator[bytes]:
        """See `Remote.read`."""
        source = f"{self}/{name}"
        system, root = self._opened
        try:
            with system.open(f"{root}/{name}", "rb") as file:
                yield from bounded(read_file(file), source, limit)
        except FileNotFoundError as error:
            raise FileMissingError(f"{source}: there is no such file") from error
        except TransferError:
            raise
        except Exception as error:  # each store has errors of its own
            raise TransferError(f"{source} cannot be read ({why(error)})") from error

    def send(self, pack: MaskPack, *, replace: bool) -> Delivery:
        """See `Remote.send`.

        Stores cannot move a folder in one step: the manifest goes last, and readers refuse masks
        that are not those of the manifest that they see.
        """
        old = standing_pack(self, pack.manifest, replace=replace)
        if old is not None and not replace:
            # A push that was ended half-way left masks of another pack under this manifest.
            try:
                old.check_masks()
            except (MaskFileError, FileMissingError) as error:
                raise TransferError(
                    f"{self} holds this pack, but not sound: {error}; replace it (--replace)"
                ) from error
            return Delivery(str(self), already_there=True)
        system, root = self._opened
        names = pack_files(pack)
        listed = () if old is None else old.manifest.entries.values()
        try:
            system.makedirs(root, exist_ok=True)
            for name in names:
                system.pipe_file(f"{root}/{name}", (pack.folder / name).read_bytes())
            for name in {entry.file for entry in listed} - {*names}:
                system.rm_file(f"{root}/{name}")
        except Exception as error:  # each store has errors of its own
            raise TransferError(f"{self} cannot be written ({why(error)})") from error
        return Delivery(str(self))

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the path of the folder in it."""
        from fsspec.core import url_to_fs  # noqa: PLC0415 - not needed for any other place

        try:
            system, root = url_to_fs(self.url)
        except Exception as error:  # an unknown scheme, a package that is missing, bad settings
            raise TransferError(f"{self} cannot be opened ({why(error)})") from error
        return system, str(root).rstrip("/")
