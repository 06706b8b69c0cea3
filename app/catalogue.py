"""The masks of one moment, found by relation; `app.changes` makes the next moment's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Self

from app.errors import RefusedRelationError
from app.similarity import Alike, Similarities
from masks import (
    Combine,
    PackedMask,
    RelationMask,
    UnknownRelationError,
    combine_masks,
)

# Combined masks kept packed, at one bit a weight; making one takes milliseconds.
_COMBINATIONS = 32


@dataclass(frozen=True, eq=False)
class ServedMask:
    """A mask and the file it came from.

    Attributes:
        mask: the mask; its arrays are views of `data`.
        pack: name of its pack.
        file: name of its file in the pack's folder.
        data: the bytes of that file.
        sha256: SHA-256 of them, 64 hexadecimal digits.
    """

    mask: RelationMask
    pack: str
    file: str
    data: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, mask: RelationMask, data: bytes, pack: str) -> Self:
        """A mask that was read from `data`, a file of a pack."""
        return cls(mask, pack, f"{mask.relation}.safetensors", data, sha256(data).hexdigest())

    @property
    def byte_size(self) -> int:
        """Bytes of the file."""
        return len(self.data)


@dataclass(frozen=True)
class RefusedFile:
    """A mask file that is not served.

    Attributes:
        relation: the relation its pack lists it for; None if no manifest lists it.
        pack: name of its pack.
        file: name of the file in the pack's folder.
        reason: why it was refused.
        folder: of the pack, for the log; None where there is none.
    """

    relation: str | None
    pack: str
    file: str
    reason: str
    folder: Path | None = None

    @property
    def path(self) -> str:
        """Where the file is, for the log."""
        return str(self.folder / self.file) if self.folder else f"{self.pack}/{self.file}"


@dataclass(frozen=True)
class ListedPack:
    """A pack that masks come from.

    Attributes:
        name: its name.
        base_model: name of its base, for people.
        relations: how many it lists.
    """

    name: str
    base_model: str
    relations: int


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All masks of one base, by relation; never changed, so that a request sees one state.

    Attributes:
        packs: where they come from.
        served: masks by relation, in order of name.
        refused: files that are not served. Of a relation that is served too, it is a newer file
            than the one in service.
    """

    packs: tuple[ListedPack, ...]
    served: Mapping[str, ServedMask]
    refused: tuple[RefusedFile, ...]
    _combined: "_Combiner" = field(init=False, repr=False)
    _similar: Similarities = field(init=False, repr=False)

    def __post_init__(self) -> None:
        masks = {relation: served.mask for relation, served in self.served.items()}
        object.__setattr__(self, "_combined", _Combiner(self.served))
        object.__setattr__(self, "_similar", Similarities(masks))

    @property
    def relations(self) -> tuple[str, ...]:
        """The relations served, sorted."""
        return tuple(self.served)

    def find(self, relation: str) -> ServedMask:
        """The mask of a relation.

        Raises:
            RefusedRelationError: a pack has the relation, but its file was refused.
            UnknownRelationError: there is no such relation.
        """
        if (found := self.served.get(relation)) is not None:
            return found
        for refused in self.refused:
            if refused.relation == relation:
                raise RefusedRelationError(relation, refused.file, refused.reason, self.relations)
        raise UnknownRelationError(relation, self.relations)

    def combine(self, relations: tuple[str, ...], combine: Combine) -> PackedMask:
        """One mask made of those of the relations; a single one is taken as it is.

        Raises:
            RefusedRelationError, UnknownRelationError: as `find` does.
            MaskExpressionError: fewer relations than votes asked for.
            MaskMismatchError: the masks cover different weights.
        """
        for relation in relations:
            self.find(relation)
        return self._combined(relations, combine)

    def similar(self, relation: str) -> tuple[Alike, ...]:
        """The relations whose masks are most like that of one; see `Similarities`.

        Raises:
            RefusedRelationError, UnknownRelationError: as `find` does.
        """
        self.find(relation)
        return self._similar.of(relation)


class _Combiner:
    """Combines masks and keeps the last results; safe to call from several threads."""

    def __init__(self, served: Mapping[str, ServedMask]) -> None:
        self._served = served
        self._kept = lru_cache(maxsize=_COMBINATIONS)(self._make)

    def __call__(self, relations: tuple[str, ...], combine: Combine) -> PackedMask:
        if len(relations) == 1:
            # The resident bits themselves: nothing to keep.
            return self._make(relations, combine)
        return self._kept(relations, combine)

    def _make(self, relations: tuple[str, ...], combine: Combine) -> PackedMask:
        return combine_masks([self._served[relation].mask for relation in relations], combine)
