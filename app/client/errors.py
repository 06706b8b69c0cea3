"""What a client raises."""

from collections.abc import Mapping
from typing import Any, Self

import httpx


class RelataError(Exception):
    """Base of all errors of the client."""


class RelataConnectionError(RelataError):
    """No answer came: the server cannot be reached, or did not answer in time."""


class RelataProblem(RelataError):  # noqa: N818 - a problem is what RFC 9457 calls it
    """The server answered with a problem (RFC 9457).

    Attributes:
        type: URI of the kind of problem, e.g. `urn:relata:problem:unknown-relation`.
        title: the kind, in words.
        status: the HTTP status.
        detail: what is wrong and what would be right.
        members: every member of the problem, e.g. `known`, `nearest`, `errors`.
        retry_after: seconds after which to come back; None where the server names none.
    """

    def __init__(self, members: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.type = str(members.get("type", "about:blank"))
        self.title = str(members.get("title", ""))
        self.status = int(members.get("status", 0))
        self.detail = str(members.get("detail", ""))
        self.members = dict(members)
        self.retry_after = retry_after
        super().__init__(f"{self.title} ({self.status}): {self.detail}")

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """The problem of a response; one is made up for a response that holds none."""
        try:
            members = response.json()
        except ValueError:
            members = None
        if not isinstance(members, dict) or "type" not in members:
            members = {
                "type": "about:blank",
                "title": response.reason_phrase,
                "status": response.status_code,
                "detail": response.text[:200],
            }
        after = response.headers.get("retry-after", "")
        return cls(members, float(after) if after.isdecimal() else None)
