"""Who is finding the answer to what, so that nobody else need ask for it."""

import asyncio
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from plm import Reading

# Probes of a job that anyone may wait for: the batcher takes so few of them in one pass.
_SMALL = 16


@dataclass(eq=False)
class Flight:
    """A key whose answer is being found.

    Attributes:
        size: keys of the job that it is part of.
        landed: done with the answer, with the error that it ended in, or with None where it was
            given up.
    """

    size: int
    landed: "asyncio.Future[Reading | Exception | None]"


@dataclass(eq=False)
class Departure:
    """How a job goes about its keys.

    Attributes:
        lead: to be found by it, and by nobody else meanwhile.
        alone: to be found by it, whatever others do.
        follow: being found by others, for whom it waits.
    """

    lead: dict[bytes, Flight] = field(default_factory=dict)
    alone: list[bytes] = field(default_factory=list)
    follow: dict[bytes, Flight] = field(default_factory=dict)


class Flights:
    """The keys whose answers are being found. For one event loop.

    A job first finds what it leads and then waits for others, so that no two wait for each other.
    Nobody waits for a job more than twice as long as their own, unless it is a short one.
    """

    def __init__(self) -> None:
        self._going: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._going)

    def depart(self, keys: Sequence[bytes], alone: Container[bytes] = ()) -> Departure:
        """Divide a job's keys; each that it leads must be landed. `alone` follow nobody."""
        departure = Departure()
        longest = max(_SMALL, 2 * len(keys))
        create_future = asyncio.get_running_loop().create_future
        for key in keys:
            flight = self._going.get(key)
            if key in alone or (flight is not None and flight.size > longest):
                departure.alone.append(key)
            elif flight is not None:
                departure.follow[key] = flight
            else:
                flight = Flight(len(keys), create_future())
                departure.lead[key] = self._going[key] = flight
        return departure

    def land(self, key: bytes, flight: Flight, result: Reading | Exception | None) -> None:
        """Tell all who wait; None: it was given up. Later calls for the flight do nothing."""
        if not flight.landed.done():
            del self._going[key]
            flight.landed.set_result(result)
