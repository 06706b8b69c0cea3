"""The settings that only some methods have, by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """A setting of a method.

    Attributes:
        default: its value where none is given.
        least: the least that it may be.
        most: the most that it may be.
    """

    default: float
    least: float = 0.0
    most: float = math.inf


def complete_options(
    method: str, known: Mapping[str, Option], given: Mapping[str, float]
) -> dict[str, float]:
    """Every option of a method: as given, or its default.

    Raises:
        ValueError: one that the method does not have, or a value out of its range; the message
            says what would be right.
    """
    for name, value in given.items():
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            raise ValueError(f"method {method} has no option {name!r}; it {has}")
        option = known[name]
        if not option.least <= value <= option.most:
            raise ValueError(
                f"option {name} of {method} is {option.least:g} to {option.most:g}, not {value}"
            )
    return {name: given.get(name, option.default) for name, option in known.items()}
