"""Runs the baselines of a pack's masks on the facts that the masks were learned from."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from masks import RelationMask
from plm import BaseModel
from training.assessment import Assessed, assess
from training.baselines.fine_tuning import FineTuning
from training.baselines.lora import LoRA
from training.baselines.neighbours import nearest_facts, nearest_objects
from training.data import DataError, RelationTemplates, Split, Triple
from training.evaluation import Evaluation, Provenance, Ranks, RelationResult, rank_targets
from training.facts import parts_to_learn
from training.learning import (
    LearnConfig,
    layer_range,
    layers_with,
    learn,
    prompts_of,
    questions_of,
)
from training.methods import Specialisation

Make = Callable[[Mapping[str, Tensor], int], Specialisation]


@dataclass(frozen=True)
class Baseline:
    """A way to specialise the layers that a mask covers.

    Attributes:
        make: the specialisation, from the base's weights and a seed.
        rates: learning rates that are tried; validation chooses.
    """

    make: Make
    rates: tuple[float, ...]


LORA = "LoRA, rank 8"
BASELINES: dict[str, Baseline] = {
    "fine-tuning": Baseline(lambda weights, _: FineTuning(weights), (3e-5, 1e-4, 3e-4)),
    LORA: Baseline(lambda weights, seed: LoRA(weights, seed=seed), (3e-4, 1e-3, 3e-3)),
}
NEIGHBOURS = "nearest words"
NEAR_FACTS = "nearest facts"


@dataclass(frozen=True)
class Setting:
    """What baselines are run on.

    Attributes:
        split: the masks' own.
        further: facts to learn from only, as the masks had them.
        templates: wordings by relation.
        masks: by relation; their relations are the ones that are run.
        config: the masks' settings; the rate is replaced by those of the baseline.
        seed: of the start and the order of facts.
        objects: what a relation's objects are ranked among, where not the whole vocabulary.
    """

    split: Split
    further: Sequence[Triple]
    templates: Mapping[str, RelationTemplates]
    masks: Mapping[str, RelationMask]
    config: LearnConfig
    seed: int
    objects: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A baseline that was learned for a relation; what is kept of it in the run's folder.

    Attributes:
        relation: its name.
        system: the baseline's name.
        rate: the learning rate that validation chose.
        further: whether it chose the further facts.
        validation: mean reciprocal rank on the validation facts.
        trained: how many numbers were trained, and are to be kept for the relation.
        seconds: that all tries took together.
        optimistic: rank of each test fact before what it ties with.
        pessimistic: rank of each test fact behind what it ties with.
    """

    relation: str
    system: str
    rate: float
    further: bool
    validation: float
    trained: int
    seconds: float
    optimistic: tuple[int, ...]
    pessimistic: tuple[int, ...]


def compare_baselines(
    base: BaseModel,
    setting: Setting,
    out: Path,
    provenance: Provenance,
    *,
    only: Sequence[str] = tuple(BASELINES),
    tell: Callable[[Done], None] = lambda _: None,
) -> tuple[Evaluation, list[Done]]:
    """Learn every baseline for every relation, and rank the test facts beside the masks.

    Each is written to `out` as soon as it is learned: the same call goes on where it was ended.

    Raises:
        DataError: an unknown baseline, one whose package is missing, or a file in `out` that is
            not of this run.
    """
    for name in only:
        if name not in BASELINES:
            raise DataError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")
    if LORA in only and find_spec("peft") is None:
        raise DataError(f"{LORA} needs the package peft: install it, or ask for the others alone")
    out.mkdir(parents=True, exist_ok=True)
    done = []
    for relation in sorted(setting.masks):
        for name in only:
            path = out / f"{relation}.{name.split(',')[0].lower()}.json"
            found = _read(path, setting, relation, name) if path.exists() else None
            if found is None:
                found = _learn(base, setting, relation, name)
                path.write_text(json.dumps(found.__dict__), encoding="utf-8")
            tell(found)
            done.append(found)
    what = Assessed(
        setting.split.test, setting.split.train, setting.templates, setting.masks, setting.objects
    )
    evaluation = assess(base, what, provenance, seed=setting.seed)
    results = [*evaluation.results, *_results(setting, done), *_neighbours(base, setting)]
    return replace(evaluation, results=tuple(results)), done


def _learn(base: BaseModel, setting: Setting, relation: str, name: str) -> Done:
    """The best of the rates, and of learning with and without further facts."""
    baseline = BASELINES[name]
    wordings = setting.templates[relation]
    layers = layer_range(base, setting.config)
    weights = {name: base.weight(name) for name in base.shapes(*layers)}
    started = time.perf_counter()
    best: tuple[float, float, bool, dict[str, Tensor], int] | None = None
    for number, part in enumerate(parts_to_learn(setting.split, relation, setting.further)):
        for rate in baseline.rates:
            specialisation = baseline.make(weights, setting.seed)
            config = replace(setting.config, learning_rate=rate)
            learned = learn(
                base,
                part,
                wordings,
                config,
                specialisation,
                seed=setting.seed,
                objects=setting.objects.get(relation),
            )
            mrr = learned.validation["mrr"]
            if best is None or mrr > best[0]:
                with torch.no_grad():
                    settled = learned.specialisation.settled(weights)
                kept = {key: value.detach().clone() for key, value in settled.items()}
                trained = sum(part.numel() for part in specialisation.parameters())
                best = mrr, rate, number > 0, kept, trained
    assert best is not None
    mrr, rate, further, kept, trained = best
    facts = [fact for fact in setting.split.test if fact.relation == relation]
    questions = questions_of(
        base, facts, wordings.evaluation, layers[0], setting.objects.get(relation)
    )
    ranks = questions.ranks(layers_with(base, *layers, kept))
    return Done(
        relation=relation,
        system=name,
        rate=rate,
        further=further,
        validation=mrr,
        trained=trained,
        seconds=time.perf_counter() - started,
        optimistic=tuple(ranks.optimistic.tolist()),
        pessimistic=tuple(ranks.pessimistic.tolist()),
    )


def _read(path: Path, setting: Setting, relation: str, name: str) -> Done:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = Done(**record)
        facts = sum(fact.relation == relation for fact in setting.split.test)
        if (found.relation, found.system, len(found.optimistic)) == (relation, name, facts):
            return found
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not readable: {error}; remove it, or give another --out") from (
            error
        )
    raise DataError(f"{path} is of another run; give another --out")


def _results(setting: Setting, done: Sequence[Done]) -> Iterator[RelationResult]:
    for one in done:
        facts = tuple(fact for fact in setting.split.test if fact.relation == one.relation)
        ranks = Ranks(np.array(one.optimistic), np.array(one.pessimistic))
        yield RelationResult(one.relation, one.system, facts, ranks)


def _neighbours(base: BaseModel, setting: Setting) -> Iterator[RelationResult]:
    # Objects of several tokens have no vector of their own to be near.
    for relation in sorted(setting.masks.keys() - setting.objects.keys()):
        facts = tuple(fact for fact in setting.split.test if fact.relation == relation)
        prompts = prompts_of(base, facts, [setting.templates[relation].evaluation])
        ranks = rank_targets(nearest_objects(base, facts), prompts.targets)
        yield RelationResult(relation, NEIGHBOURS, facts, ranks)
        parts = parts_to_learn(setting.split, relation, setting.further)
        tried = [nearest_facts(base, part.train, part.validation, facts) for part in parts]
        votes, _ = max(tried, key=lambda found: found[1])
        # Shares of votes are small numbers, and equal only where there are none.
        ranks = rank_targets(votes, prompts.targets, absolute=0.0)
        yield RelationResult(relation, NEAR_FACTS, facts, ranks)
