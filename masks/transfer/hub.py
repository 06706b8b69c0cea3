"""A model repository of the Hugging Face Hub, or a folder in one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from masks.store import MaskPack
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.remote import Delivery, bounded, pack_files, read_path, too_long, why
from masks.transfer.standing import standing_pack

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class HubFolder:
    """Where a pack lies on the hub; the token comes from its usual places.

    Attributes:
        repository: `owner/name`.
        revision: a branch, a tag or a commit; None for the main branch.
        subfolder: path in the repository, empty for its root.
        private: whether a repository that a push makes is private; None leaves it to the owner's
            settings.
        api: the hub's client; None for one with its usual settings.
    """

    repository: str
    revision: str | None = None
    subfolder: str = ""
    private: bool | None = None
    api: "HfApi | None" = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self._at(self.revision)

    def read(self, name: str, limit: int) -> Iterator[bytes]:
        """See `Remote.read`; all files are of one commit, the latest when the first was read."""
        source = f"{self}/{name}"
        path = f"{self.subfolder}/{name}".lstrip("/")
        commit, sizes = self._listing
        if path not in sizes:
            raise FileMissingError(f"{source}: there is no such file")
        if sizes[path] > limit:
            raise too_long(source, limit)
        with self._asking(f"{source} cannot be had"):
            local = self._client.hf_hub_download(self.repository, path, revision=commit)
        try:
            yield from bounded(read_path(Path(local)), source, limit)
        except OSError as error:
            raise TransferError(f"{local} cannot be read ({why(error)})") from error

    def send(self, pack: MaskPack, *, replace: bool) -> Delivery:
        """See `Remote.send`: one commit, in a repository that is made if need be."""
        old = standing_pack(self, pack.manifest, replace=replace)
        if old is not None and not replace:
            return Delivery(self._at(self._listing[0]), already_there=True)
        names = pack_files(pack)
        listed = () if old is None else old.manifest.entries.values()
        with self._asking(f"nothing was sent to {self}"):
            self._client.create_repo(self.repository, private=self.private, exist_ok=True)
            if self.revision is not None:
                self._client.create_branch(self.repository, branch=self.revision, exist_ok=True)
            commit = self._client.upload_folder(
                repo_id=self.repository,
                folder_path=pack.folder,
                path_in_repo=self.subfolder or None,
                revision=self.revision,
                commit_message=f"Mask pack {pack.name}, {pack.digest}",
                allow_patterns=[*names],
                # Only what the old manifest names: the repository may hold a model too.
                delete_patterns=sorted({entry.file for entry in listed} - {*names}) or None,
            )
        return Delivery(self._at(commit.oid))

    def _at(self, revision: str | None) -> str:
        place = f"hf://{self.repository}"
        if revision is not None:
            place += f"@{revision.replace('/', '%2F')}"
        return f"{place}/{self.subfolder}".rstrip("/")

    @cached_property
    def _client(self) -> "HfApi":
        if self.api is not None:
            return self.api
        from huggingface_hub import HfApi  # noqa: PLC0415 - not needed for any other place

        return HfApi()

    @cached_property
    def _listing(self) -> tuple[str, Mapping[str, int]]:
        """The commit, and its files' sizes by path."""
        with self._asking(f"{self} cannot be had"):
            info = self._client.model_info(
                self.repository, revision=self.revision, files_metadata=True
            )
        if info.sha is None:
            raise TransferError(f"{self}: the hub names no commit of it")
        return info.sha, {file.rfilename: file.size or 0 for file in info.siblings or ()}

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn the hub's errors into ours; `what` says what failed."""
        from huggingface_hub import errors  # noqa: PLC0415 - not needed for any other place

        try:
            yield
        except errors.RevisionNotFoundError as error:
            raise FileMissingError(f"{what}: there is no such revision") from error
        except errors.RepositoryNotFoundError as error:
            raise FileMissingError(
                f"{what}: the hub has no such model repository, or shows it to nobody without "
                f"rights to it (hf auth login, HF_TOKEN)"
            ) from error
        except errors.OfflineModeIsEnabled as error:
            raise TransferError(f"{what}: HF_HUB_OFFLINE is set") from error
        except Exception as error:  # its HTTP library, the file system, Xet: no common base
            raise TransferError(f"{what}: {why(error)}") from error
