"""Long work on the event loop, in pieces between which others have their turn."""

import asyncio
from time import perf_counter

_SECONDS = 0.002


class Turns:
    """Counts the time of a piece of work; `give` after each small step ends a piece in time."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def give(self) -> None:
        """Let others have their turn, if the last one was some milliseconds ago."""
        if perf_counter() - self._since > _SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()
