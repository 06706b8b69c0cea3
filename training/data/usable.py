"""Keeps the facts that a masked language model can be asked: the object is one vocabulary token."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from training.data.errors import DataError
from training.data.triples import Triple

_SHOWN_REASONS = 3


@dataclass(frozen=True, slots=True)
class Rejected:
    """A fact that cannot be asked with one mask token, and why."""

    triple: Triple
    reason: str


class Usable(NamedTuple):
    """`triples` in the order given; `rejected` the others."""

    triples: tuple[Triple, ...]
    rejected: tuple[Rejected, ...]


def keep_single_token(triples: Iterable[Triple], token_id_of: Callable[[str], int]) -> Usable:
    """Keep the facts whose object `token_id_of` maps to a token id.

    `token_id_of` raises a ValueError whose text says why an object is not one token (its pieces).

    Raises:
        DataError: facts were given and none of them is usable.
    """
    # One answer per spelling: a relation repeats few objects over many facts.
    reasons: dict[str, str | None] = {}
    kept: list[Triple] = []
    rejected: list[Rejected] = []
    for triple in triples:
        if triple.object not in reasons:
            reasons[triple.object] = _why_not(triple.object, token_id_of)
        reason = reasons[triple.object]
        if reason is None:
            kept.append(triple)
        else:
            rejected.append(Rejected(triple, reason))
    if rejected and not kept:
        first = "; ".join(item.reason for item in rejected[:_SHOWN_REASONS])
        raise DataError(
            f"no object of {len(rejected):,} facts is a single token of this model: {first}"
        )
    return Usable(tuple(kept), tuple(rejected))


def _why_not(word: str, token_id_of: Callable[[str], int]) -> str | None:
    try:
        token_id_of(word)
    except ValueError as error:
        return str(error)
    return None
