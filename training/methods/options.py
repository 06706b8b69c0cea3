"""The settings that only some methods have, by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """A setting of a method.

    Attributes:
        default: its value where none is given.
        least: the least that it may be.
        most: the most that it may be.
        by_layer: whether a layer, counted from 1, can have one of its own: `sparsity.5`.
    """

    default: float
    least: float = 0.0
    most: float = math.inf
    by_layer: bool = False


def complete_options(
    method: str, known: Mapping[str, Option], given: Mapping[str, float]
) -> dict[str, float]:
    """Every option of a method: as given, or its default; and those of single layers.

    Raises:
        ValueError: one that the method does not have, or a value out of its range; the message
            says what would be right.
    """
    for name, value in given.items():
        option = known.get(name) or _of_layer(name, known)
        if option is None:
            has = f"has {', '.join(map(_shown, known.items()))}" if known else "has none"
            raise ValueError(f"method {method} has no option {name!r}; it {has}")
        if not option.least <= value <= option.most:
            raise ValueError(
                f"option {name} of {method} is {option.least:g} to {option.most:g}, not {value}"
            )
    return {name: option.default for name, option in known.items()} | dict(given)


def for_layers(name: str, options: Mapping[str, float], layers: Sequence[int]) -> dict[int, float]:
    """The value of an option in each layer: its own, or the common one.

    Raises:
        ValueError: a layer has one that is not among `layers`.
    """
    own = {
        int(key.removeprefix(f"{name}.")): value
        for key, value in options.items()
        if key.startswith(f"{name}.")
    }
    for layer in sorted(own.keys() - set(layers)):
        raise ValueError(
            f"option {name}.{layer}: layers {min(layers)} to {max(layers)} are masked, not {layer}"
        )
    return {layer: own.get(layer, options[name]) for layer in sorted(set(layers))}


def _of_layer(name: str, known: Mapping[str, Option]) -> Option | None:
    """The option of which `name` is that of a single layer; None if there is none."""
    option, dot, layer = name.partition(".")
    if dot and layer.isascii() and layer.isdigit() and not layer.startswith("0"):
        found = known.get(option)
        return found if found is not None and found.by_layer else None
    return None


def _shown(item: tuple[str, Option]) -> str:
    name, option = item
    return f"{name} (or {name}.LAYER)" if option.by_layer else name
