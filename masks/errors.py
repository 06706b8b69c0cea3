"""Every error this package raises; each is a `MaskError`."""

from collections.abc import Iterable
from difflib import get_close_matches


class MaskError(Exception):
    """Base of all errors of the `masks` package."""


class MaskValueError(MaskError, ValueError):
    """A mask, an array or a metadata field breaks a rule of the mask artefact."""


class MaskMismatchError(MaskError, ValueError):
    """Masks that do not belong together, or a mask that does not fit the base model."""


class MaskExpressionError(MaskError, ValueError):
    """A mask expression (relations and how to combine them) that means nothing."""


class MaskFileError(MaskError):
    """A mask file or a pack's manifest that is refused.

    Attributes:
        source: the file's name, or what stands for it when the bytes were uploaded.
        reason: one sentence with the wrong fact.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class UnknownRelationError(MaskError, KeyError):
    """A relation that a pack does not hold.

    Attributes:
        relation: the name asked for.
        known: the names that exist, sorted.
        nearest: the known name spelled most like it (case ignored), or None.
    """

    def __init__(self, relation: str, known: Iterable[str]) -> None:
        self.relation = relation
        self.known = tuple(sorted(known))
        self.nearest = _nearest(relation, self.known)
        super().__init__(relation, self.known)

    def __str__(self) -> str:
        # KeyError would show the repr of its arguments, which is no sentence.
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        known = ", ".join(self.known) or "none"
        return f"unknown relation {self.relation!r}{hint} (known: {known})"


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else None
