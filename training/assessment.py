"""The masks of a pack beside the unmasked model and the controls, on the same held-out facts.

Controls (LAMP paper, section 5.1, and ours): masks of other relations, random masks at the learned
sparsity and at the paper's 50 %, and the frequency of objects in the training facts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from masks import RelationMask, check_fits
from plm import BaseModel, object_token_id
from training.data import DataError, RelationTemplates, Triple
from training.evaluation import (
    Evaluation,
    FrequencyPrior,
    Provenance,
    RelationResult,
    mismatched_assignment,
    random_keep,
    rank_targets,
    shuffled,
)
from training.learning import (
    LowerStates,
    Multipliers,
    layers_under,
    multipliers_of,
    prompts_of,
    ranks_of,
)

UNMASKED = "unmasked"
MASKED = "masked"
PRIOR = "frequency prior"
MISMATCHED = "mismatched masks"
RANDOM_SAME = "random masks, learned sparsity"
RANDOM_HALF = "random masks, 50 %"


@dataclass(frozen=True)
class Assessed:
    """What is assessed: facts to answer, facts the prior counts, the wording, the masks."""

    test: Sequence[Triple]
    train: Sequence[Triple]
    templates: Mapping[str, RelationTemplates]
    masks: Mapping[str, RelationMask]


def assess(
    base: BaseModel,
    what: Assessed,
    provenance: Provenance,
    *,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Rank every test fact's object over the whole vocabulary under every system.

    Mismatched masks: each relation under the mask half the (sorted) relations further on. The
    prior needs training facts, mismatched masks a second relation: they are left out without.

    Raises:
        MaskMismatchError: a mask does not fit the base.
        DataError: no test fact of a relation that has a mask.
    """
    relations = sorted({fact.relation for fact in what.test} & set(what.masks))
    if not relations:
        raise DataError("no relation has both a mask and test facts")
    results: list[RelationResult] = []
    for relation in relations:
        report(relation)
        for system, multipliers in _systems(what, relation, relations, seed):
            results.append(_result(base, what, relation, system, multipliers))
    if what.train:
        results += _prior_results(base, what, relations)
    return Evaluation(tuple(results), provenance)


def _systems(
    what: Assessed, relation: str, relations: Sequence[str], seed: int
) -> list[tuple[str, Multipliers]]:
    mask = what.masks[relation]
    shapes = {name: tuple(shape) for name, shape in mask.shapes.items()}
    systems: list[tuple[str, Multipliers]] = [
        (UNMASKED, {name: np.ones(shape, dtype=np.bool_) for name, shape in shapes.items()}),
        (MASKED, multipliers_of(mask)),
    ]
    if len(relations) > 1:
        other = mismatched_assignment(relations, len(relations) // 2)[relation]
        systems.append((MISMATCHED, multipliers_of(what.masks[other])))
    systems.append((RANDOM_SAME, _random_like(mask, shapes, seed)))
    systems.append((RANDOM_HALF, random_keep(shapes, 0.5, seed)))
    return systems


def _random_like(
    mask: RelationMask, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Multipliers:
    if mask.bits_per_weight == 1:
        return random_keep(shapes, mask.sparsity, seed)
    # Random bits would remove whole weights where the mask weakens all of them a little.
    return shuffled(multipliers_of(mask), seed)


def _result(
    base: BaseModel, what: Assessed, relation: str, system: str, multipliers: Multipliers
) -> RelationResult:
    mask = what.masks[relation]
    first, last = mask.metadata.layers
    check_fits(mask, base.digest, base.shapes(first, last))
    facts = _of(what.test, relation)
    prompts = prompts_of(base, facts, [what.templates[relation].evaluation])
    ranks = ranks_of(
        base,
        LowerStates(base, prompts.encoded, first),
        prompts.targets,
        layers_under(base, (first, last), multipliers),
    )
    return RelationResult(relation, system, facts, ranks)


def _prior_results(
    base: BaseModel, what: Assessed, relations: Sequence[str]
) -> list[RelationResult]:
    def token_id_of(word: str) -> int:
        return object_token_id(base, word)

    prior = FrequencyPrior.fit(what.train, token_id_of=token_id_of, vocabulary_size=base.vocab_size)
    results = []
    for relation in relations:
        facts = _of(what.test, relation)
        targets = torch.tensor([token_id_of(fact.object) for fact in facts])
        ranks = rank_targets(prior.scores(relation, rows=len(facts)), targets)
        results.append(RelationResult(relation, PRIOR, facts, ranks))
    return results


def _of(facts: Sequence[Triple], relation: str) -> tuple[Triple, ...]:
    return tuple(fact for fact in facts if fact.relation == relation)
