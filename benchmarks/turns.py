"""Sides of a benchmark, timed one after the other."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def seconds_of(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def one_round(
    sides: Mapping[Name, Callable[[], object]], number: int, *, settle: float = 0
) -> dict[Name, float]:
    """Seconds of each side in round `number`, one call each.

    Every second round runs backwards, so that no side always follows the same other one. With
    `settle` a side is called for so many seconds before: threads of the side before it may go on
    waiting for work for a while, and take cores from the next one.
    """
    names = list(sides)
    taken = {}
    for name in reversed(names) if number % 2 else names:
        ready = time.perf_counter() + settle
        while time.perf_counter() < ready:
            sides[name]()
        taken[name] = seconds_of(sides[name])
    return {name: taken[name] for name in names}
