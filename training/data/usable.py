"""Keeps the facts that a masked language model can be asked: it can say the object."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from training.data.errors import DataError
from training.data.triples import Triple

_SHOWN_REASONS = 3


@dataclass(frozen=True, slots=True)
class Rejected:
    """A fact that cannot be asked, and why."""

    triple: Triple
    reason: str


class Usable(NamedTuple):
    """`triples` in the order given; `rejected` the others."""

    triples: tuple[Triple, ...]
    rejected: tuple[Rejected, ...]


def keep_sayable(triples: Iterable[Triple], tokens_of: Callable[[str], object]) -> Usable:
    """Keep the facts whose object `tokens_of` takes.

    It raises a ValueError whose text says why an object cannot be asked for (its pieces).

    Raises:
        DataError: facts were given and none of them is usable.
    """
    # One answer per spelling: a relation repeats few objects over many facts.
    reasons: dict[str, str | None] = {}
    kept: list[Triple] = []
    rejected: list[Rejected] = []
    for triple in triples:
        if triple.object not in reasons:
            reasons[triple.object] = _why_not(triple.object, tokens_of)
        reason = reasons[triple.object]
        if reason is None:
            kept.append(triple)
        else:
            rejected.append(Rejected(triple, reason))
    if rejected and not kept:
        first = "; ".join(item.reason for item in rejected[:_SHOWN_REASONS])
        raise DataError(f"none of the objects of {len(rejected):,} facts can be asked for: {first}")
    return Usable(tuple(kept), tuple(rejected))


def _why_not(word: str, tokens_of: Callable[[str], object]) -> str | None:
    try:
        tokens_of(word)
    except ValueError as error:
        return str(error)
    return None
