"""Reads the body of a request: its type and size are checked before it is looked into."""

from collections.abc import Sequence

from starlette.requests import Request

from app.errors import BodyTooLargeError, MediaTypeError

_JSON = "application/json"


async def read_json(request: Request, max_bytes: int) -> bytes:
    """The body of a request that says it is JSON, not decoded.

    Raises:
        MediaTypeError: the request does not say so.
        BodyTooLargeError: it is larger.
    """
    if _media_type(request) != _JSON:
        raise _wrong_type(request, (_JSON,))
    return await _read(request, max_bytes)


async def read_bytes(request: Request, max_bytes: int, media_types: Sequence[str]) -> bytes:
    """The body as it is, of one of these types; without a Content-Type it may be anything.

    Raises:
        MediaTypeError: the request says that it is something else.
        BodyTooLargeError: it is larger.
    """
    if _media_type(request) not in ("", *media_types):
        raise _wrong_type(request, media_types)
    return await _read(request, max_bytes)


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body; of one that is too large nothing is read with a Content-Length, else no more."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        body += chunk
    return bytes(body)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wrong_type(request: Request, right: Sequence[str]) -> MediaTypeError:
    value = request.headers.get("content-type")
    given = f"not {value!r:.80}" if value else "but the request has none"
    return MediaTypeError(f"the Content-Type must be {' or '.join(right)}, {given}")
