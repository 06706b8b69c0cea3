"""What each part of a mask is worth (LAMP paper, figure 2, left)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from masks import RelationMask, layer_of, role_of
from plm import ROLES
from training.assessment import MASKED, Assessed, assess
from training.evaluation import Interval, RelationResult, compare, summarise
from training.learning import layers_under, multipliers_of, questions_of
from training.study.figures import drawing, svg_of
from training.study.section import Figure, NotApplicableError, Section, Table, with_interval
from training.study.studied import Studied

NAME = "ablation"
TITLE = "What each part of a mask is worth"


@dataclass(frozen=True)
class AblationRow:
    """One system on all test facts, means over relations.

    Attributes:
        system: its name; `without layer 5` is the masks with that layer left unmasked.
        mrr: mean reciprocal rank.
        hits: share of objects at the first place.
        lost: the masks' MRR less this system's, paired by fact.
    """

    system: str
    mrr: Interval
    hits: Interval
    lost: Interval


@dataclass(frozen=True)
class AblationStudy:
    """The systems: masks, controls, and masks with one part left out.

    Attributes:
        relations: how many.
        facts: test facts.
        rows: the masks first.
    """

    relations: int
    facts: int
    rows: tuple[AblationRow, ...]


def measure_ablation(studied: Studied) -> AblationStudy:
    """Rank the test facts under every system.

    Raises:
        NotApplicableError: no relation has both a mask and test facts.
    """
    if not studied.asked:
        raise NotApplicableError("no relation of the pack has test facts in this split")
    masks = {relation: studied.masks[relation] for relation in studied.asked}
    test = tuple(fact for fact in studied.split.test if fact.relation in masks)
    what = Assessed(test, studied.split.train, studied.templates, masks, studied.objects)
    evaluation = assess(studied.base, what, studied.provenance, seed=studied.seed)
    evaluation = replace(evaluation, results=(*evaluation.results, *_without_parts(studied, masks)))
    rows = sorted(summarise(evaluation, ks=(1,)), key=lambda row: row.system != MASKED)
    return AblationStudy(
        relations=len(masks),
        facts=len(test),
        rows=tuple(
            AblationRow(
                row.system,
                row.intervals["mrr"],
                row.intervals["hits@1"],
                compare(evaluation, MASKED, row.system),
            )
            for row in rows
        ),
    )


def draw_ablation(study: AblationStudy) -> str:
    """A bar for each system's MRR, with its interval."""
    with drawing(NAME):
        canvas = Canvas(figsize=(7, 0.8 + 0.28 * len(study.rows)), layout="constrained")
        axes = canvas.subplots()
        middles = np.array([row.mrr.estimate for row in study.rows])
        spread = np.array(
            [
                [row.mrr.estimate - row.mrr.low for row in study.rows],
                [row.mrr.high - row.mrr.estimate for row in study.rows],
            ]
        )
        places = np.arange(len(study.rows))
        axes.barh(places, middles, xerr=spread.clip(min=0), color="#5b8db8", ecolor="#333")
        axes.set_yticks(places, [row.system for row in study.rows])
        axes.invert_yaxis()
        axes.set_xlabel("MRR on test facts, mean over relations")
        return svg_of(
            canvas,
            name=NAME,
            title="Mean reciprocal rank under masks, controls, and masks with a part left out",
            description="Bars with 95 % intervals; the table below has the numbers.",
        )


def ablation_section(study: AblationStudy) -> Section:
    """The part of the page."""
    table = Table(
        f"{study.facts:,} test facts of {study.relations} relations, means over relations",
        ("system", "MRR", "first place, %", "MRR of the masks less this"),
        tuple(
            (
                row.system,
                with_interval(row.mrr),
                with_interval(row.hits, scale=100, digits=1),
                "" if row.system == MASKED else with_interval(row.lost),
            )
            for row in study.rows
        ),
    )
    text = (
        "Mismatched masks are those of all other relations, a fact counting with their mean. "
        "Random masks remove as many weights as each mask, or half of them, at random places. "
        "A system without a layer or a matrix type is the masks with those weights left as they "
        "are: what it loses is what masking them is worth, given the rest.",
        "In brackets: 95 % bootstrap intervals over test facts; differences are paired by fact.",
    )
    return Section(NAME, TITLE, text, (Figure(draw_ablation(study), table.caption),), (table,))


def _without_parts(studied: Studied, masks: Mapping[str, RelationMask]) -> list[RelationResult]:
    names = {name for mask in masks.values() for name in mask.shapes}
    layers = sorted({layer for name in names if (layer := layer_of(name)) is not None})
    masked = {role_of(name) for name in names}
    roles = [role for role in ROLES if role in masked]
    results = []
    for relation, mask in masks.items():
        facts = studied.test_facts(relation)
        first, last = mask.metadata.layers
        questions = questions_of(
            studied.base,
            facts,
            studied.templates[relation].evaluation,
            first,
            studied.objects.get(relation),
        )
        whole = multipliers_of(mask)
        variants: dict[str, set[str]] = {
            f"without layer {layer}": {name for name in whole if layer_of(name) == layer}
            for layer in layers
        } | {
            f"without {role.replace('_', ' ')}": {name for name in whole if role_of(name) == role}
            for role in roles
        }
        for system, left_out in variants.items():
            keep: dict[str, NDArray[np.float32]] = {
                name: np.ones_like(part) if name in left_out else part
                for name, part in whole.items()
            }
            ranks = questions.ranks(layers_under(studied.base, (first, last), keep))
            results.append(RelationResult(relation, system, facts, ranks))
    return results
