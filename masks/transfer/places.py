"""How a place is written: a folder, a URL, or a repository of the hub."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from masks.errors import MaskValueError
from masks.manifest import MANIFEST_NAME
from masks.transfer.folder import LocalFolder
from masks.transfer.http import WebFolder
from masks.transfer.hub import HubFolder
from masks.transfer.remote import Remote
from masks.transfer.store import StoreFolder

# Two characters at least: C:\packs is a folder.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY = re.compile(rf"{_PART}/{_PART}")
_HUB = re.compile(rf"hf://({_PART}/{_PART})(?:@([^/]+))?(?:/(.*))?")


def parse_place(text: str, *, to_write: bool = False, private: bool | None = None) -> Remote:
    """The place that a text names.

    `hf://owner/name[@revision][/folder]` is on the hub, `http(s)://` on a web server, `file://` a
    folder, any other URL a store that fsspec knows. Without a scheme it is a folder, but
    `owner/name` is on the hub where no such folder exists. A place to write to must be told apart
    with certainty: there, `owner/name` is refused where a folder `owner` exists.

    Raises:
        MaskValueError: an empty text, a bad name on the hub, or one that may mean two things.
    """
    if not text.strip():
        raise MaskValueError("the place of a pack must not be empty")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    if scheme == "hf":
        return _hub(text, private)
    if scheme in ("http", "https"):
        return WebFolder(_without_manifest(text))
    if scheme == "file":
        return LocalFolder(_local_path(text))
    if scheme:
        return StoreFolder(text)
    if _REPOSITORY.fullmatch(text) and not Path(text).exists():
        if to_write and Path(text).parent.exists():
            raise MaskValueError(
                f"{text} may be a folder or a repository of the hub; write ./{text} or hf://{text}"
            )
        return HubFolder(text, private=private)
    return LocalFolder(Path(text))


def _hub(text: str, private: bool | None) -> HubFolder:
    match = _HUB.fullmatch(text)
    if not match or match[1].split("/")[0] in ("datasets", "spaces", "buckets"):
        raise MaskValueError(
            f"{text!r:.160} must be hf://owner/name[@revision][/folder] of a model repository"
        )
    folder = (match[3] or "").strip("/")
    if folder and any(part in ("", ".", "..") for part in folder.split("/")):
        raise MaskValueError(f"{folder!r:.160} is no folder of a repository")
    revision = unquote(match[2]) if match[2] else None
    return HubFolder(match[1], revision, folder, private)


def _without_manifest(url: str) -> str:
    """The folder's URL where that of its manifest was given."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.removesuffix(f"/{MANIFEST_NAME}")).geturl()


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise MaskValueError(
            f"{url!r:.160} names the host {parts.netloc!r}; a folder of this machine is file:///path"
        )
    return Path(url2pathname(parts.path))
