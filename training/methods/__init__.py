"""How real scores become a binary mask and how a gradient reaches them: one class per method.

`generator_of` resolves a method by name, the same in Python, on the command line and in settings.
"""

from training.methods.deterministic import DeterministicGenerator
from training.methods.generator import MaskGenerator
from training.methods.specialisation import Specialisation

METHODS: dict[str, type[MaskGenerator]] = {"deterministic": DeterministicGenerator}


def generator_of(method: str) -> type[MaskGenerator]:
    """The generator class of a method's name.

    Raises:
        ValueError: an unknown method; the message lists the known ones.
    """
    try:
        return METHODS[method]
    except KeyError:
        known = ", ".join(sorted(METHODS))
        raise ValueError(f"unknown method {method!r}; known are {known}") from None


__all__ = ["METHODS", "DeterministicGenerator", "MaskGenerator", "Specialisation", "generator_of"]
