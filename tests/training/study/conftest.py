"""A study of made-up masks on a tiny random base."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import plm
from masks import RelationMask
from training.data import RelationTemplates, Triple, split_by_fact
from training.evaluation import collect_provenance
from training.study.studied import PackOrigin, Studied

DIGEST = "sha256:" + "0" * 64
LAYERS = (3, 4)

MakeMask = Callable[..., RelationMask]


@pytest.fixture(scope="session")
def make_mask(base: plm.BaseModel) -> MakeMask:
    """A mask that removes a share of each matrix at random, or what `keep` says."""

    def make(
        relation: str,
        *,
        share: float = 0.2,
        seed: int = 0,
        keep: dict[str, NDArray[np.bool_]] | None = None,
    ) -> RelationMask:
        random = np.random.default_rng(seed)
        shapes = base.shapes(*LAYERS)
        return RelationMask.from_keep(
            keep or {name: random.random(shape) >= share for name, shape in shapes.items()},
            relation=relation,
            base_model=base.name,
            base_digest=base.digest,
            architecture=base.architecture.model_type,
            layers=LAYERS,
            method="deterministic",
            threshold=0.5,
            templates=("a [X] is a [Y] .", "the [X] is one [Y] ."),
            data_name="made up",
            data_digest=DIGEST,
            seed=seed,
            validation={},
            tool_version="0",
        )

    return make


@pytest.fixture
def studied(
    base: plm.BaseModel,
    many_triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    make_mask: MakeMask,
) -> Studied:
    """Relations A and B with the same facts in the same sentence, under different masks."""
    facts = [replace(fact, relation=name) for name in ("A", "B") for fact in many_triples]
    split = split_by_fact(facts, seed=0)
    provenance = collect_provenance(
        seed=0, data_digest=DIGEST, split_digest=split.digest, base_digest=base.digest
    )
    masks = {name: make_mask(name, seed=number) for number, name in enumerate(("A", "B"))}
    digests = {name: mask.digest for name, mask in masks.items()}
    return Studied(
        base=base,
        masks=masks,
        further_packs=(),
        split=split,
        templates={name: replace(templates["IsA"], relation=name) for name in ("A", "B")},
        objects={},
        seed=0,
        provenance=provenance,
        origins=[PackOrigin("tiny", "somewhere", digests, (0,), (DIGEST,))],
    )
