"""Who may ask, and who may change what is served: keys, compared in constant time."""

from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated, Self

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from app.errors import ForbiddenError, UnauthorizedError
from app.settings import Settings

HEADER = "X-API-Key"

_HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"

_BEARER = HTTPBearer(
    scheme_name="bearer", description="The API key, or the admin key.", auto_error=False
)
_API_KEY = APIKeyHeader(
    name=HEADER, scheme_name="key", description="The same keys, in a header.", auto_error=False
)

Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
ApiKey = Annotated[str | None, Security(_API_KEY)]


@dataclass(frozen=True)
class Access:
    """The keys of an application, as digests: comparing them tells not even their length.

    Attributes:
        api: of the keys that questions are answered for; empty: for everybody.
        admin: of the key that changes what is served; None: nobody may.
    """

    api: tuple[bytes, ...] = field(repr=False)
    admin: bytes | None = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The keys of the settings."""
        api = tuple(_digest(key.get_secret_value()) for key in settings.api_key or ())
        admin = settings.admin_key
        return cls(api, None if admin is None else _digest(admin.get_secret_value()))

    def check_key(self, given: tuple[str, ...]) -> None:
        """Let pass who may ask questions: with an API key, or the admin key.

        Raises:
            UnauthorizedError: a key is needed, and none of those given is right.
        """
        if not self.api or self._may_ask(given):
            return
        raise UnauthorizedError(_refusal("this service answers with a key only", given))

    def check_admin(self, given: tuple[str, ...]) -> None:
        """Let pass who may change what is served.

        Raises:
            ForbiddenError: nobody may, because the service has no admin key; or the key given is
                right, but for questions only.
            UnauthorizedError: none of the keys given is right.
        """
        if self.admin is None:
            raise ForbiddenError(
                "nothing can be changed over HTTP here, because RELATA_ADMIN_KEY is not set"
            )
        if _holds((self.admin,), given):
            return
        if self.api and self._may_ask(given):
            raise ForbiddenError("the key given is for questions; this needs the admin key")
        raise UnauthorizedError(_refusal("this needs the admin key", given))

    def _may_ask(self, given: tuple[str, ...]) -> bool:
        known = self.api if self.admin is None else (*self.api, self.admin)
        return _holds(known, given)


async def require_key(request: Request, bearer: Bearer, api_key: ApiKey) -> None:
    """Let the request pass if it may ask questions.

    Raises:
        UnauthorizedError: it needs a key, and has none that is right.
    """
    _access(request).check_key(_given(bearer, api_key))


async def require_admin(request: Request, bearer: Bearer, api_key: ApiKey) -> None:
    """Let the request pass if it may change what is served.

    Raises:
        ForbiddenError: nobody may, or its key is for questions only.
        UnauthorizedError: it has no key that is right.
    """
    _access(request).check_admin(_given(bearer, api_key))


# For `dependencies=[...]` of a router or an endpoint.
KeyNeeded = Depends(require_key)
AdminOnly = Depends(require_admin)


def _access(request: Request) -> Access:
    access: Access = request.app.state.access
    return access


def _given(bearer: HTTPAuthorizationCredentials | None, api_key: str | None) -> tuple[str, ...]:
    token = None if bearer is None else bearer.credentials
    return tuple(key for key in (token, api_key) if key)


def _refusal(needed: str, given: tuple[str, ...]) -> str:
    return f"{needed}, and the one given is not right" if given else f"{needed}; {_HOW}"


def _holds(known: tuple[bytes, ...], given: tuple[str, ...]) -> bool:
    found = False
    for one in given:
        digest = _digest(one)
        for key in known:
            # Every pair is compared, so that the time tells nothing.
            found |= compare_digest(key, digest)
    return found


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
