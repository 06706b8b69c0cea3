"""A variant of the native kernels: the same source compiled for one set of instructions."""

import ctypes
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """The functions of a variant, in the library that was built with the package.

    Attributes:
        name: `avx512`, `avx2` or `portable`.
        built: the library that has them.
    """

    name: str
    built: ctypes.CDLL

    @property
    def lanes(self) -> int:
        """Floats of a vector."""
        return int(self.function("lanes")())

    @property
    def step(self) -> int:
        """What a matrix's depth must be a multiple of: whole vectors and whole bytes of a mask."""
        return max(self.lanes, 8)

    @property
    def wide(self) -> bool:
        """Whether its products are as fast as PyTorch's where nothing is masked too."""
        return self.lanes >= 8

    @property
    def reads_half(self) -> bool:
        """Whether it reads weights in half precision."""
        return bool(self.function("reads_half")())

    def function(self, name: str) -> "ctypes._NamedFuncPointer":
        """One of its functions, `masked_linear` say."""
        found: ctypes._NamedFuncPointer = getattr(self.built, f"relata_{self.name}_{name}")
        return found


def variants(library: ctypes.CDLL) -> list[Variant]:
    """What this processor can run, the fastest first.

    Raises:
        AttributeError: the library is none of ours, or of another version.
    """
    library.relata_variants.restype = ctypes.c_char_p
    names: bytes = library.relata_variants()
    return [Variant(name, library) for name in names.decode().split()]


def blocked_kinds(library: ctypes.CDLL) -> list[str]:
    """Products of weights in the kernel's own order that this processor has, the fastest first.

    Raises:
        AttributeError: the library is none of ours, or of another version.
    """
    library.relata_blocked.restype = ctypes.c_char_p
    names: bytes = library.relata_blocked()
    return names.decode().split()
