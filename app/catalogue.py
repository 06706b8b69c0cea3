"""The masks that are served: read from packs, checked against the base, found by relation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

from app.errors import RefusedRelationError, StartupError
from masks import (
    Combine,
    MaskError,
    MaskFileError,
    MaskPack,
    PackedMask,
    RelationMask,
    UnknownRelationError,
    check_fits,
    combine_masks,
)
from plm import BaseModel

logger = logging.getLogger(__name__)

# Combined masks kept packed, at one bit a weight; making one takes milliseconds.
_COMBINATIONS = 32


@dataclass(frozen=True)
class ServedMask:
    """A mask and the file it came from.

    Attributes:
        mask: the mask.
        pack: name of its pack.
        file: name of its file in the pack's folder.
        byte_size: bytes of that file.
    """

    mask: RelationMask
    pack: str
    file: str
    byte_size: int


@dataclass(frozen=True)
class RefusedFile:
    """A mask file that is not served.

    Attributes:
        relation: the relation its pack lists it for; None if no manifest lists it.
        pack: name of its pack.
        file: name of the file in the pack's folder.
        reason: why it was refused.
    """

    relation: str | None
    pack: str
    file: str
    reason: str


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All masks of one base, by relation; never changed, so that a request sees one state.

    Attributes:
        packs: the packs, in the order given.
        served: masks by relation, in order of name.
        refused: files that are not served, in order of pack and file.
    """

    packs: tuple[MaskPack, ...]
    served: dict[str, ServedMask]
    refused: tuple[RefusedFile, ...]
    _combined: "_Combiner" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_combined", _Combiner(self.served))

    @classmethod
    def load(cls, packs: Sequence[MaskPack], base: BaseModel) -> Self:
        """Read every mask of the packs. A file that is refused is logged and left out."""
        shapes = base.shapes(1, base.layer_count)
        served: dict[str, ServedMask] = {}
        refused: list[RefusedFile] = []
        for pack in packs:
            for relation in pack.relations:
                file = pack.manifest.entries[relation].file
                try:
                    mask = pack.load(relation)
                    check_fits(mask, base.digest, shapes)
                except MaskError as error:
                    refused.append(_refuse(pack, relation, file, error))
                else:
                    size = (pack.folder / file).stat().st_size
                    served[relation] = ServedMask(mask, pack.name, file, size)
            refused.extend(_unlisted(pack))
        return cls(tuple(packs), dict(sorted(served.items())), tuple(refused))

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


class _Combiner:
    """Combines masks and keeps the last results; safe to call from several threads."""

    def __init__(self, served: dict[str, ServedMask]) -> None:
        self._served = served
        self._kept = lru_cache(maxsize=_COMBINATIONS)(self._make)

    def __call__(self, relations: tuple[str, ...], combine: Combine) -> PackedMask:
        if len(relations) == 1:
            # The resident bits themselves: nothing to keep.
            return self._make(relations, combine)
        return self._kept(relations, combine)

    def _make(self, relations: tuple[str, ...], combine: Combine) -> PackedMask:
        return combine_masks([self._served[relation].mask for relation in relations], combine)


def open_packs(folders: Sequence[Path]) -> tuple[MaskPack, ...]:
    """Read the manifests.

    Raises:
        MaskFileError: a folder is no pack, or its manifest is refused.
        StartupError: two packs define the same relation.
    """
    packs = tuple(MaskPack.open(folder) for folder in folders)
    owners: dict[str, MaskPack] = {}
    for pack in packs:
        for relation in pack.relations:
            if (owner := owners.setdefault(relation, pack)) is not pack:
                raise StartupError(
                    f"relation {relation} is in two packs, {owner.folder} and {pack.folder}; "
                    f"remove it from one, or leave one pack out of RELATA_PACKS"
                )
    return packs


def _refuse(pack: MaskPack, relation: str | None, file: str, error: MaskError) -> RefusedFile:
    reason = error.reason if isinstance(error, MaskFileError) else str(error)
    logger.error("mask file %s is refused: %s", pack.folder / file, reason)
    return RefusedFile(relation, pack.name, file, reason)


def _unlisted(pack: MaskPack) -> list[RefusedFile]:
    listed = {entry.file for entry in pack.manifest.entries.values()}
    return [
        _refuse(
            pack,
            None,
            path.name,
            MaskFileError(str(path), "the manifest of its pack does not list it"),
        )
        for path in sorted(pack.folder.glob("*.safetensors"))
        if path.name not in listed
    ]
