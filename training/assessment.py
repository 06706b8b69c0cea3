"""The masks of a pack beside the unmasked model and the controls, on the same held-out facts.

Controls (LAMP paper, section 5.1, and ours): masks of other relations, random masks at the learned
sparsity and at the paper's 50 %, and the frequency of objects in the training facts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from masks import RelationMask, check_fits
from plm import BaseModel, object_token_id
from training.data import DataError, RelationTemplates, Triple
from training.evaluation import (
    Evaluation,
    FrequencyPrior,
    Provenance,
    Ranks,
    RelationResult,
    mismatched_assignment,
    random_keep,
    rank_targets,
    shuffled,
    stacked,
)
from training.learning import (
    MOST_TOKENS,
    Multipliers,
    layers_under,
    multipliers_of,
    object_tokens,
    questions_of,
)

UNMASKED = "unmasked"
MASKED = "masked"
PRIOR = "frequency prior"
MISMATCHED = "mismatched masks"
RANDOM_SAME = "random masks, learned sparsity"
RANDOM_HALF = "random masks, 50 %"
# Masks of others that a relation is asked under: all of them up to so many relations.
_OTHERS = 15


@dataclass(frozen=True)
class Assessed:
    """What is assessed.

    Attributes:
        test: the facts to answer.
        train: the facts that the prior counts.
        templates: wordings by relation.
        masks: by relation.
        objects: what the objects of a relation are ranked among, where that is not the whole
            vocabulary, see `training.learning.objects_to_rank`.
    """

    test: Sequence[Triple]
    train: Sequence[Triple]
    templates: Mapping[str, RelationTemplates]
    masks: Mapping[str, RelationMask]
    objects: Mapping[str, Sequence[str]] = field(default_factory=dict)


def assess(
    base: BaseModel,
    what: Assessed,
    provenance: Provenance,
    *,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Rank every test fact's object over the whole vocabulary, or given ones, under every system.

    Mismatched masks: each relation under the mask of every other, a fact counting with the mean
    over them; with more than 16 relations under those of 15 others, evenly spaced in their order.
    The prior needs training facts, mismatched masks a second relation: they are left out without.

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
        facts = _of(what.test, relation)
        rank = _ranker(base, what, relation)
        for system, keeps in _systems(what, relation, relations, seed):
            ranks = [rank(keep) for keep in keeps]
            found = ranks[0] if len(ranks) == 1 else stacked(ranks)
            results.append(RelationResult(relation, system, facts, found))
    if what.train:
        results += _prior_results(base, what, relations)
    return Evaluation(tuple(results), provenance)


def _systems(
    what: Assessed, relation: str, relations: Sequence[str], seed: int
) -> Iterator[tuple[str, Iterable[Multipliers]]]:
    """Each system with the masks it runs a relation under."""
    mask = what.masks[relation]
    shapes = {name: tuple(shape) for name, shape in mask.shapes.items()}
    yield UNMASKED, [{name: np.ones(shape, dtype=np.bool_) for name, shape in shapes.items()}]
    yield MASKED, [multipliers_of(mask)]
    if others := _others(relation, relations):
        # Unpacked one by one: a hundred masks of a large base do not fit.
        yield MISMATCHED, (multipliers_of(what.masks[other]) for other in others)
    yield RANDOM_SAME, [_random_like(mask, shapes, seed)]
    yield RANDOM_HALF, [random_keep(shapes, 0.5, seed)]


def _others(relation: str, relations: Sequence[str]) -> list[str]:
    count = min(len(relations) - 1, _OTHERS)
    shifts = np.linspace(1, len(relations) - 1, count).round().astype(int).tolist()
    return [mismatched_assignment(relations, shift)[relation] for shift in shifts]


def _random_like(
    mask: RelationMask, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Multipliers:
    if mask.bits_per_weight == 1:
        return random_keep(shapes, mask.sparsity, seed)
    # Random bits would remove whole weights where the mask weakens all of them a little.
    return shuffled(multipliers_of(mask), seed)


def _ranker(base: BaseModel, what: Assessed, relation: str) -> Callable[[Multipliers], Ranks]:
    """What ranks the relation's test facts under a mask; the lower layers run once for all."""
    mask = what.masks[relation]
    layers = mask.metadata.layers
    check_fits(mask, base.digest, base.shapes(*layers))
    questions = questions_of(
        base,
        _of(what.test, relation),
        what.templates[relation].evaluation,
        layers[0],
        what.objects.get(relation),
    )
    return lambda keep: questions.ranks(layers_under(base, layers, keep))


def _prior_results(
    base: BaseModel, what: Assessed, relations: Sequence[str]
) -> Iterator[RelationResult]:
    for relation in relations:
        train, facts = _of(what.train, relation), _of(what.test, relation)
        if not train:
            raise DataError(f"there are no training facts of {relation} for the prior to count")
        place_of, count = _places(base, what.objects.get(relation))
        prior = FrequencyPrior.fit(train, token_id_of=place_of, vocabulary_size=count)
        targets = torch.tensor([place_of(fact.object) for fact in facts])
        ranks = rank_targets(prior.scores(relation, rows=len(facts)), targets)
        yield RelationResult(relation, PRIOR, facts, ranks)


def _places(base: BaseModel, objects: Sequence[str] | None) -> tuple[Callable[[str], int], int]:
    """Where an object stands among those that are ranked, and how many these are."""
    if objects is None:
        return lambda word: object_token_id(base, word), base.vocab_size
    places: dict[tuple[int, ...], int] = {}
    for ids in object_tokens(base, objects, most=MOST_TOKENS):
        places.setdefault(ids, len(places))
    return lambda word: places[object_tokens(base, [word], most=MOST_TOKENS)[0]], len(places)


def _of(facts: Sequence[Triple], relation: str) -> tuple[Triple, ...]:
    return tuple(fact for fact in facts if fact.relation == relation)
