"""The requests that the client makes, without the making."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

MASK_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        method: of HTTP.
        path: below the server's address.
        body: JSON body, or None.
        content: raw body, or None.
        headers: beside those of every request.
    """

    method: str
    path: str
    body: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def ask(path: str, **fields: Any) -> Call:
    """A question; fields that are None are left to the server's defaults."""
    given = {name: value for name, value in fields.items() if value is not None}
    return Call("POST", path, body=given)


def ask_many(path: str, many: str, questions: Sequence[Mapping[str, Any]]) -> Call:
    """Many questions at once."""
    return Call("POST", path, body={many: [dict(question) for question in questions]})


def get(path: str) -> Call:
    """Something that the server tells."""
    return Call("GET", path)


def mask_path(relation: str) -> str:
    """Where the mask of a relation lies."""
    return f"/masks/{quote(relation, safe='')}"


def relation_path(relation: str) -> str:
    """Where a relation is described."""
    return f"/relations/{quote(relation, safe='')}"


def put_mask(relation: str, data: bytes) -> Call:
    """Upload a mask file."""
    return Call("PUT", mask_path(relation), content=data, headers={"content-type": MASK_TYPE})


def delete_mask(relation: str) -> Call:
    """Remove a relation."""
    return Call("DELETE", mask_path(relation))
