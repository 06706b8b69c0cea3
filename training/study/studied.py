"""What a study is of: facts, wordings and masks on their base."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from masks import RelationMask
from plm import BaseModel
from training.data import RelationTemplates, Split, Triple
from training.evaluation import Provenance


@dataclass(frozen=True)
class PackOrigin:
    """A pack that was studied.

    Attributes:
        name: as its manifest says.
        folder: where it lay.
        masks: digest of each relation's mask.
        seeds: that the masks were learned with, sorted.
        data: digests of the facts that they were learned from, sorted.
    """

    name: str
    folder: str
    masks: Mapping[str, str]
    seeds: tuple[int, ...]
    data: tuple[str, ...]


@dataclass(frozen=True)
class Studied:
    """The material of all sub-studies.

    Attributes:
        base: the model.
        masks: by relation, of the pack that is studied.
        further_packs: the masks of other packs, by relation.
        split: facts; the test facts are asked.
        templates: wordings by relation.
        objects: what a relation's objects are ranked among, where not the whole vocabulary.
        seed: of all draws.
        provenance: of the study.
        origins: of the packs, the studied one first.
    """

    base: BaseModel
    masks: Mapping[str, RelationMask]
    further_packs: Sequence[Mapping[str, RelationMask]]
    split: Split
    templates: Mapping[str, RelationTemplates]
    objects: Mapping[str, Sequence[str]]
    seed: int
    provenance: Provenance
    origins: Sequence[PackOrigin]

    def test_facts(self, relation: str) -> tuple[Triple, ...]:
        """The test facts of a relation."""
        return tuple(fact for fact in self.split.test if fact.relation == relation)

    @property
    def asked(self) -> tuple[str, ...]:
        """Relations that have both a mask and test facts, sorted."""
        return tuple(sorted({fact.relation for fact in self.split.test} & self.masks.keys()))
