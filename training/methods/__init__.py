"""How real scores become a binary mask and how a gradient reaches them: one class per method.

`generator_of` resolves a method by name, the same in Python, on the command line and in settings.
"""

from training.methods.deterministic import DeterministicGenerator
from training.methods.generator import Export, MaskGenerator
from training.methods.hard_concrete import HardConcreteGenerator
from training.methods.options import Option, complete_options
from training.methods.specialisation import Specialisation
from training.methods.stochastic import StochasticGenerator
from training.methods.top_k import TopKGenerator

METHODS: dict[str, type[MaskGenerator]] = {
    method.name: method
    for method in (
        DeterministicGenerator,
        StochasticGenerator,
        TopKGenerator,
        HardConcreteGenerator,
    )
}


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


__all__ = [
    "METHODS",
    "DeterministicGenerator",
    "Export",
    "HardConcreteGenerator",
    "MaskGenerator",
    "Option",
    "Specialisation",
    "StochasticGenerator",
    "TopKGenerator",
    "complete_options",
    "generator_of",
]
