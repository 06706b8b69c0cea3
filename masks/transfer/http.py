"""A folder on a web server, read-only."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit
from weakref import finalize

from masks.store import MaskPack
from masks.transfer.errors import FileMissingError, TransferError
from masks.transfer.remote import Delivery, bounded, why

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 30.0
# A store whose list is not public answers 403 for what is not there.
_ABSENT = (403, 404, 410)


@dataclass(frozen=True)
class WebFolder:
    """A URL below which the files of a pack lie; a query goes with each of them."""

    url: str

    def __str__(self) -> str:
        # Neither user and password nor a query: they may be secrets.
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))

    def read(self, name: str, limit: int) -> Iterator[bytes]:
        """See `Remote.read`."""
        import httpx  # noqa: PLC0415 - not needed for any other place

        source = f"{self}/{name}"
        try:
            with self._client.stream("GET", self._url_of(name)) as response:
                state = f"the server answers {response.status_code} {response.reason_phrase}"
                if response.status_code in _ABSENT:
                    raise FileMissingError(f"{source}: {state.rstrip()}")
                if response.status_code != httpx.codes.OK:
                    raise TransferError(f"{source}: {state.rstrip()}")
                yield from bounded(response.iter_bytes(), source, limit)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransferError(f"{source} cannot be had ({why(error)})") from error

    def send(self, pack: MaskPack, *, replace: bool) -> Delivery:
        """Refuse: HTTP has no common way to write."""
        raise TransferError(
            f"{self} can only be read; push to a folder, a store (s3://...) or the hub (hf://...)"
        )

    def _url_of(self, name: str) -> str:
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))

    @cached_property
    def _client(self) -> "httpx.Client":
        import httpx  # noqa: PLC0415 - not needed for any other place

        client = httpx.Client(follow_redirects=True, timeout=_TIMEOUT_SECONDS)
        finalize(self, client.close)
        return client
