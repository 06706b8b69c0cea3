"""Conditional requests (RFC 9110, section 13): changes that must not undo what somebody else did.

The validator is a strong one: the SHA-256 of a mask's file, in quotes.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from app.errors import PreconditionError

_TAG = re.compile(r'(W/)?("[^"]*")')
_ANY = "*"
_DESCRIPTION = "ETags of mask files, separated by commas, or `*` for any."


def entity_tag(sha256: str) -> str:
    """The ETag of a file with this hash."""
    return f'"{sha256}"'


@dataclass(frozen=True)
class Conditions:
    """What a request asks of the state that it meets.

    Attributes:
        if_match: the header If-Match; None if there is none.
        if_none_match: the header If-None-Match.
    """

    if_match: str | None = None
    if_none_match: str | None = None

    def __bool__(self) -> bool:
        return self != Conditions()

    def check(self, sha256: str | None) -> None:
        """Check them for a change; `sha256` is that of the file served, None if there is none.

        Raises:
            PreconditionError: one does not hold; the message names the file served.
        """
        if self.if_match is not None and not _names(self.if_match, sha256, weakly=False):
            raise PreconditionError(f"If-Match does not hold: {_what_is_there(sha256)}")
        if self.if_none_match is not None and _names(self.if_none_match, sha256, weakly=True):
            raise PreconditionError(f"If-None-Match does not hold: {_what_is_there(sha256)}")

    def is_known(self, sha256: str) -> bool:
        """Whether a reader has this file already, so that 304 is enough."""
        return self.if_none_match is not None and _names(self.if_none_match, sha256, weakly=True)


def conditions_of(
    request: Request,
    if_match: Annotated[str | None, Header(description=_DESCRIPTION)] = None,
    if_none_match: Annotated[str | None, Header(description=_DESCRIPTION)] = None,
) -> Conditions:
    """Those of a request."""
    return Conditions(
        None if if_match is None else _joined(request, "if-match"),
        None if if_none_match is None else _joined(request, "if-none-match"),
    )


RequestConditions = Annotated[Conditions, Depends(conditions_of)]


def _joined(request: Request, name: str) -> str:
    # A header that is sent several times is one list, of which FastAPI gives one part.
    return ", ".join(request.headers.getlist(name))


def _names(header: str, sha256: str | None, *, weakly: bool) -> bool:
    """Whether a list of entity tags, or `*`, names a file."""
    if sha256 is None:
        return False
    if header.strip() == _ANY:
        return True
    tags = _TAG.findall(header)
    return any(tag == entity_tag(sha256) and (weakly or not weak) for weak, tag in tags)


def _what_is_there(sha256: str | None) -> str:
    if sha256 is None:
        return "the relation is not served"
    return f"the file served is {entity_tag(sha256)}; GET it, and change that"
