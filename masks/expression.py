"""Mask expressions: several relations and how to combine them into one mask."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from masks.algebra import difference, intersection, union, vote
from masks.bits import count_weights, sparsity_of
from masks.digest import combined_digest
from masks.errors import MaskExpressionError, MaskMismatchError
from masks.mask import RelationMask, keep_of

_KINDS = ("union", "intersection", "difference", "vote")
_VOTE = re.compile(r"vote:(0|[1-9][0-9]{0,5})")
_RIGHT = "'union', 'intersection', 'difference' or 'vote:k' (kept by at least k of the relations)"


@dataclass(frozen=True)
class Combine:
    """How masks become one; `str()` gives the text that `parse` reads.

    Attributes:
        kind: `union` (kept by any), `intersection` (by all), `difference` (by the first and none
            of the others) or `vote` (by at least `votes`).
        votes: k of `vote:k`, at least 1; None for the other kinds.

    Raises:
        MaskExpressionError: the kind does not exist, or `votes` does not go with it.
    """

    kind: str = "union"
    votes: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise MaskExpressionError(f"combine must be {_RIGHT}, not {self.kind!r:.80}")
        if (self.kind == "vote") != (self.votes is not None):
            raise MaskExpressionError("'vote', and no other way to combine, has a number of votes")
        if self.votes is not None and self.votes < 1:
            raise MaskExpressionError(
                f"k of 'vote:k' must be at least 1, and at most the number of relations, "
                f"not {self.votes}"
            )

    @classmethod
    def parse(cls, text: str = "union") -> Self:
        """Read `union`, `intersection`, `difference` or `vote:k`.

        Raises:
            MaskExpressionError: anything else; the message says what would be right.
        """
        if text != "vote" and text in _KINDS:
            return cls(text)
        if match := _VOTE.fullmatch(text):
            return cls("vote", int(match[1]))
        raise MaskExpressionError(f"combine must be {_RIGHT}, not {text!r:.80}")

    def check_count(self, relations: int) -> None:
        """Check that this many relations can be combined so, before any mask is loaded.

        Raises:
            MaskExpressionError: there is none, or fewer than the votes asked for.
        """
        if relations < 1:
            raise MaskExpressionError("a mask expression needs at least one relation")
        if self.votes is not None and self.votes > relations:
            raise MaskExpressionError(
                f"k of 'vote:k' must be from 1 to {relations}, the number of relations, "
                f"not {self.votes}"
            )

    def __str__(self) -> str:
        return self.kind if self.votes is None else f"{self.kind}:{self.votes}"


@dataclass(frozen=True, eq=False)
class CombinedMask:
    """One mask made of one or more relations' masks; made by `combine_masks`.

    Two are equal if their relations and digest are. The bits are combined when they are first
    looked at: who combines them elsewhere, on a GPU, needs only the parts.

    Attributes:
        relations: the relations, in the order given.
        combine: how they were combined.
        parts: the relations' masks, likewise.
        digest: `sha256:<hex>` made of the parts' digests (`masks.digest.combined_digest`).
        packed: read-only uint8 (rows, ceil(columns / 8)) by parameter name; of a single mask of 8
            bits a weight (rows, columns).
    """

    relations: tuple[str, ...]
    combine: Combine
    parts: tuple[RelationMask, ...]
    digest: str
    packed: Mapping[str, NDArray[np.uint8]]

    @cached_property
    def sparsity(self) -> float:
        """Share of weights removed, 0 to 1."""
        if len(self.parts) == 1:
            return self.parts[0].sparsity
        return sparsity_of(self.packed, self.shapes)

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """(rows, columns) by parameter name."""
        return self.parts[0].shapes

    @property
    def base_digest(self) -> str:
        """Digest of the base model all parts belong to."""
        return self.parts[0].base_digest

    @property
    def bits_per_weight(self) -> int:
        """1; 8 for a single mask that has 8."""
        return self.parts[0].bits_per_weight

    @property
    def weight_count(self) -> int:
        """Weights the mask decides on, kept and removed."""
        return count_weights(self.shapes)

    def keep(self, name: str) -> NDArray[np.bool_]:
        """The matrix's boolean (rows, columns) mask, True where the weight is kept.

        Raises:
            KeyError: the mask does not cover that parameter.
            MaskValueError: the mask has 8 bits a weight, and decides on none.
        """
        return keep_of(self, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CombinedMask):
            return NotImplemented
        return (self.relations, self.digest) == (other.relations, other.digest)

    def __hash__(self) -> int:
        return hash((self.relations, self.digest))


def combine_masks(masks: Sequence[RelationMask], combine: Combine | None = None) -> CombinedMask:
    """Combine masks of one base model (default: their union); one mask alone is taken as it is.

    Raises:
        MaskExpressionError: no masks, or fewer than the votes asked for.
        MaskMismatchError: the masks belong to different bases or cover different matrices, or one
            of several has 8 bits a weight.
    """
    combine = combine or Combine()
    combine.check_count(len(masks))
    packed = masks[0].packed
    if len(masks) > 1:
        _check_one_bit(masks)
        for mask in masks[1:]:
            _check_alike(masks[0], mask)
        packed = _Combination([mask.packed for mask in masks], combine)
    return CombinedMask(
        relations=tuple(mask.relation for mask in masks),
        combine=combine,
        parts=tuple(masks),
        digest=combined_digest(str(combine), [mask.digest for mask in masks]),
        packed=packed,
    )


class _Combination(Mapping[str, NDArray[np.uint8]]):
    """The combined bits of several masks, made when the first matrix is asked for."""

    def __init__(self, parts: Sequence[Mapping[str, NDArray[np.uint8]]], combine: Combine) -> None:
        self._parts = parts
        self._combine = combine
        # Two threads that ask at once may both make it; each array they get stays good.
        self._made: dict[str, NDArray[np.uint8]] | None = None

    def __getitem__(self, name: str) -> NDArray[np.uint8]:
        if self._made is None:
            self._made = _combine(self._parts, self._combine)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts[0])

    def __len__(self) -> int:
        return len(self._parts[0])


def _combine(
    parts: Sequence[Mapping[str, NDArray[np.uint8]]], combine: Combine
) -> dict[str, NDArray[np.uint8]]:
    match combine:
        case Combine("union"):
            result = union(parts)
        case Combine("intersection"):
            result = intersection(parts)
        case Combine("difference"):
            result = difference(parts)
        case Combine("vote", int(votes)):
            result = vote(parts, votes)
        case _:
            raise AssertionError(f"{combine} has passed its own checks")
    for bits in result.values():
        bits.flags.writeable = False
    return result


def _check_one_bit(masks: Sequence[RelationMask]) -> None:
    for mask in masks:
        if mask.bits_per_weight != 1:
            raise MaskMismatchError(
                f"mask {mask.relation} has {mask.bits_per_weight} bits a weight, and only masks of "
                f"one bit, which keep a weight or remove it, can be combined; make one of it by a "
                f"threshold (`relata masks threshold`), or ask under {mask.relation} alone"
            )


def _check_alike(first: RelationMask, other: RelationMask) -> None:
    pair = f"masks {first.relation} and {other.relation}"
    if first.base_digest != other.base_digest:
        raise MaskMismatchError(
            f"{pair} belong to different base models ({first.base_digest} and "
            f"{other.base_digest}); only masks of one base can be combined"
        )
    if first.shapes != other.shapes:
        names = sorted(first.shapes.keys() | other.shapes.keys())
        name = next(n for n in names if first.shapes.get(n) != other.shapes.get(n))
        raise MaskMismatchError(
            f"{pair} cover different weights: {name} is {first.shapes.get(name, 'absent')} in the "
            f"one and {other.shapes.get(name, 'absent')} in the other"
        )
