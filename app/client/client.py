"""The two clients: one that waits, and one to be awaited."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Self

import httpx

from app.client.calls import Call
from app.client.errors import RelataConnectionError, RelataError, RelataProblem
from app.client.questions import Questions

_POLL_SECONDS = 0.1
# What tells to come back: the queue is full, or the server is not ready or stopping.
_COME_BACK = (429, 503)


class _Setup:
    """What both clients are made with."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
    ) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            url: the server's address.
            key: API key, or the admin key.
            timeout: seconds after which a request is given up, here and by the server.
            retries: how often a request is sent again when the server says to come back (429,
                503), after as long as it says.

        Raises:
            ValueError: a timeout of 0 or less, or fewer than no retries.
        """
        if timeout <= 0 or retries < 0:
            raise ValueError("timeout must be above 0 seconds, and retries at least 0")
        self._retries = retries
        self._options: dict[str, Any] = {
            "base_url": url,
            # The server gives up a little before this side does, and then says so.
            "timeout": timeout + 1,
            "headers": {"X-Request-Timeout": f"{timeout:g}"}
            | ({} if key is None else {"Authorization": f"Bearer {key}"}),
        }

    def _pause(self, response: httpx.Response, attempt: int) -> float | None:
        """Seconds to wait before the request is sent again; None if it is not."""
        if response.status_code not in _COME_BACK or attempt >= self._retries:
            return None
        return RelataProblem.of(response).retry_after or 1.0


class Client(_Setup, Questions[dict[str, Any], bytes]):
    """Asks a server and waits; safe to use from several threads. Close it, or use `with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
    ) -> None:
        super().__init__(url, key=key, timeout=timeout, retries=retries)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers questions.

        Raises:
            RelataError: it does not within that many seconds; the message says how it stood.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                self._http.get("/ready").raise_for_status()
            except httpx.HTTPError as error:
                if time.monotonic() >= end:
                    raise RelataError(
                        f"the server was not ready within {timeout:g} s: {error}"
                    ) from error
            else:
                return
            time.sleep(_POLL_SECONDS)

    def _send(self, call: Call) -> dict[str, Any]:
        return _json(self._response(call))

    def _fetch(self, call: Call) -> bytes:
        return self._response(call).content

    def _response(self, call: Call) -> httpx.Response:
        for attempt in range(self._retries + 1):
            try:
                response = self._http.request(call.method, call.path, **_arguments(call))
            except httpx.HTTPError as error:
                raise _no_answer(self._http.base_url, error) from error
            pause = self._pause(response, attempt)
            if pause is None:
                break
            time.sleep(pause)
        return _checked(response)


class AsyncClient(_Setup, Questions[Awaitable[dict[str, Any]], Awaitable[bytes]]):
    """Asks a server and is awaited. Close it, or use `async with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 30.0,
        retries: int = 2,
    ) -> None:
        super().__init__(url, key=key, timeout=timeout, retries=retries)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def wait_ready(self, timeout: float = 60.0) -> None:
        """Wait until the server answers questions.

        Raises:
            RelataError: it does not within that many seconds; the message says how it stood.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                (await self._http.get("/ready")).raise_for_status()
            except httpx.HTTPError as error:
                if time.monotonic() >= end:
                    raise RelataError(
                        f"the server was not ready within {timeout:g} s: {error}"
                    ) from error
            else:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _send(self, call: Call) -> dict[str, Any]:
        return _json(await self._response(call))

    async def _fetch(self, call: Call) -> bytes:
        return (await self._response(call)).content

    async def _response(self, call: Call) -> httpx.Response:
        for attempt in range(self._retries + 1):
            try:
                response = await self._http.request(call.method, call.path, **_arguments(call))
            except httpx.HTTPError as error:
                raise _no_answer(self._http.base_url, error) from error
            pause = self._pause(response, attempt)
            if pause is None:
                break
            await asyncio.sleep(pause)
        return _checked(response)


def _arguments(call: Call) -> dict[str, Any]:
    arguments: dict[str, Any] = {"headers": dict(call.headers)}
    if call.body is not None:
        arguments["json"] = call.body
    if call.content is not None:
        arguments["content"] = call.content
    return arguments


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise RelataProblem.of(response)
    return response


def _json(response: httpx.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json() if response.content else {}
    return answer


def _no_answer(url: httpx.URL, error: httpx.HTTPError) -> RelataConnectionError:
    return RelataConnectionError(f"{url} gives no answer: {str(error) or type(error).__name__}")
