"""Reads the body of a request: its type and size are checked before it is looked into."""

from starlette.requests import Request

from app.errors import BodyTooLargeError, MediaTypeError
from app.json_text import decode_json


async def read_json(request: Request, max_bytes: int) -> object:
    """The decoded JSON body.

    Raises:
        MediaTypeError: the request does not say that it is JSON.
        BodyTooLargeError: it is larger; with a Content-Length none of it is read, without one
            reading stops at the limit.
        InvalidJsonError: it is not JSON.
    """
    _check_media_type(request.headers.get("content-type"))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise BodyTooLargeError(max_bytes)
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > max_bytes:
            raise BodyTooLargeError(max_bytes)
        body += chunk
    return decode_json(bytes(body))


def _check_media_type(value: str | None) -> None:
    media_type = (value or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        given = f"not {value!r:.80}" if value else "but the request has none"
        raise MediaTypeError(f"the Content-Type must be application/json, {given}")
