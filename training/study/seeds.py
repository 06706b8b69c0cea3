"""Whether masks of one relation that were learned with several seeds agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas

from masks import RelationMask, overlap
from training.learning import LowerStates, layers_under, logits_by_pass, multipliers_of, prompts_of
from training.study.figures import drawing, svg_of
from training.study.overlap import chance_overlap
from training.study.section import Figure, NotApplicableError, Section, Table, percent
from training.study.studied import Studied

NAME = "seeds"
TITLE = "Whether seeds agree"


@dataclass(frozen=True)
class SeedAgreement:
    """The masks of one relation, means over each pair of packs.

    Attributes:
        relation: its name.
        removed: Jaccard index of the removed weights.
        chance: what masks as sparse would have, their weights removed at random.
        same_answer: share of test facts where both masks' first word is the same; None without
            test facts, or where objects have several tokens.
        facts: test facts.
    """

    relation: str
    removed: float
    chance: float
    same_answer: float | None
    facts: int


@dataclass(frozen=True)
class SeedStudy:
    """Agreement by relation; `packs` are their names, `pairs` how many pairs they make."""

    packs: tuple[str, ...]
    pairs: int
    relations: tuple[SeedAgreement, ...]


def measure_seeds(studied: Studied) -> SeedStudy:
    """Compare the studied pack with the further packs.

    Raises:
        NotApplicableError: there is one pack only, or the packs have no relation in common.
        MaskMismatchError: masks of a relation cover different matrices.
    """
    if not studied.further_packs:
        raise NotApplicableError("there is one pack; name those of other seeds by --pack, too")
    packs = [studied.masks, *studied.further_packs]
    common = sorted(set.intersection(*(set(masks) for masks in packs)))
    if not common:
        raise NotApplicableError("the packs have no relation in common")
    names = tuple(f"{origin.name} ({origin.folder})" for origin in studied.origins)
    pairs = len(packs) * (len(packs) - 1) // 2
    return SeedStudy(
        names, pairs, tuple(_agreement(studied, relation, packs) for relation in common)
    )


def draw_seeds(study: SeedStudy) -> str:
    """Agreement of each relation's masks beside that of chance."""
    with drawing(NAME):
        canvas = Canvas(figsize=(7, 0.9 + 0.28 * len(study.relations)), layout="constrained")
        axes = canvas.subplots()
        places = np.arange(len(study.relations))
        own = [one.removed for one in study.relations]
        chance = [one.chance for one in study.relations]
        axes.barh(places - 0.2, own, 0.4, label="masks", color="#5b8db8")
        axes.barh(places + 0.2, chance, 0.4, label="chance", color="#c9c9c9")
        axes.set_yticks(places, [one.relation for one in study.relations])
        axes.invert_yaxis()
        axes.set_xlabel("Jaccard index of the removed weights")
        axes.legend()
        return svg_of(
            canvas,
            name=NAME,
            title="Agreement of masks learned with several seeds",
            description="Beside what chance gives; the table below has the numbers.",
        )


def seeds_section(study: SeedStudy) -> Section:
    """The part of the page."""
    table = Table(
        f"Packs {', '.join(study.packs)}: means over {study.pairs} pairs",
        ("relation", "Jaccard, removed", "by chance", "same first word, %", "test facts"),
        tuple(
            (
                one.relation,
                f"{one.removed:.3f}",
                f"{one.chance:.3f}",
                "" if one.same_answer is None else percent(one.same_answer),
                f"{one.facts:,}",
            )
            for one in study.relations
        ),
    )
    text = (
        "Two masks of a relation that were learned from different starts: how many of the weights "
        "that either removes both remove, and how often they give the same first word to a test "
        "fact. Masks may remove different weights and yet answer alike.",
    )
    return Section(NAME, TITLE, text, (Figure(draw_seeds(study), table.caption),), (table,))


def _agreement(
    studied: Studied, relation: str, packs: Sequence[Mapping[str, RelationMask]]
) -> SeedAgreement:
    masks = [pack[relation] for pack in packs]
    facts = studied.test_facts(relation)
    same = None
    if facts and relation not in studied.objects:
        words = [_first_words(studied, relation, mask) for mask in masks]
        same = float(
            np.mean([(one == other).float().mean() for one, other in combinations(words, 2)])
        )
    pairs = list(combinations(masks, 2))
    return SeedAgreement(
        relation,
        float(np.mean([overlap(one, other).removed for one, other in pairs])),
        float(np.mean([chance_overlap(one, other) for one, other in pairs])),
        same,
        len(facts),
    )


def _first_words(studied: Studied, relation: str, mask: RelationMask) -> torch.Tensor:
    """(N,) token that the mask ranks first for each test fact."""
    base, layers = studied.base, mask.metadata.layers
    prompts = prompts_of(
        base, studied.test_facts(relation), [studied.templates[relation].evaluation]
    )
    states = LowerStates(base, prompts.encoded, layers[0])
    words = torch.empty(len(prompts.counts), dtype=torch.long)
    for indices, logits in logits_by_pass(
        base, states, layers_under(base, layers, multipliers_of(mask))
    ):
        words[indices] = logits.argmax(dim=1).cpu()
    return words
