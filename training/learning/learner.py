"""Learns one relation: parameters are trained, the base is frozen, validation chooses."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plm import BaseModel, default_layer_range
from training.data import RelationTemplates, Split
from training.learning.config import LearnConfig
from training.learning.judge import Judge, SpecialisationT
from training.learning.layers import layers_with
from training.learning.scoring import logits_of
from training.learning.states import LowerStates, prompts_of
from training.methods import Specialisation, generator_of

_SORTED_BATCHES = 8  # batches are cut from prompts sorted by length within so many


@dataclass(frozen=True)
class LearnedMask:
    """The mask that validation chose.

    Attributes:
        keep: (out, in) bool by parameter name, True where the weight is kept.
        layers: first and last masked layer, counted from 1.
        threshold: of sigmoid(score), or None.
        validation: `mrr`, `p_at_1`, `p_at_3`, `p_at_10` of the chosen mask, and `unmasked_mrr`.
        step: the optimiser's step it was chosen at; 0 if no step beat the start.
        steps: how many were made.
    """

    keep: dict[str, NDArray[np.bool_]]
    layers: tuple[int, int]
    threshold: float | None
    validation: dict[str, float]
    step: int
    steps: int


@dataclass(frozen=True, eq=False)
class Learned(Generic[SpecialisationT]):
    """A specialisation with the parameters that validation chose.

    Attributes:
        specialisation: the one that was trained.
        layers: first and last layer that it changes, counted from 1.
        validation: `mrr`, `p_at_1`, `p_at_3`, `p_at_10`, and `unmasked_mrr`.
        step: the optimiser's step it was chosen at; 0 if no step beat the start.
        steps: how many were made.
    """

    specialisation: SpecialisationT
    layers: tuple[int, int]
    validation: dict[str, float]
    step: int
    steps: int


@dataclass(frozen=True)
class LearnProgress:
    """Where the learning of a relation stands; `validation_mrr` is the best so far."""

    step: int
    steps: int
    loss: float
    validation_mrr: float


def learn_mask(
    base: BaseModel,
    split: Split,
    templates: RelationTemplates,
    config: LearnConfig,
    *,
    seed: int,
    report: Callable[[LearnProgress], None] = lambda _: None,
) -> LearnedMask:
    """Learn a relation's mask from `split.train`; `split.validation` chooses the step it is taken.

    Each pass shows every fact once, under a random training wording; validation uses the
    evaluation wording, which training never saw. The test facts are not looked at. The same seed
    on the same machine gives the same mask.

    Raises:
        ValueError: the layer range does not fit the base.
        PromptError, ObjectError: a fact cannot be a prompt (see `training.data.usable`).
    """
    layers = layer_range(base, config)
    generator = generator_of(config.method)(
        base.shapes(*layers),
        mean=config.score_mean,
        deviation=config.score_deviation,
        seed=seed,
        device=base.device,
        options=config.options,
    )
    learned = learn(base, split, templates, config, generator, seed=seed, report=report)
    return LearnedMask(
        keep=learned.specialisation.keep(),
        layers=learned.layers,
        threshold=learned.specialisation.threshold,
        validation=learned.validation,
        step=learned.step,
        steps=learned.steps,
    )


def layer_range(base: BaseModel, config: LearnConfig) -> tuple[int, int]:
    """First and last layer that is specialised, counted from 1.

    Raises:
        ValueError: the settings' first layer is beyond the last one.
    """
    first, last = default_layer_range(base.layer_count)
    first = config.first_layer or first
    if first > last:
        raise ValueError(f"first_layer is 1 to {last} for {base.name}, not {first}")
    return first, last


def learn(
    base: BaseModel,
    split: Split,
    templates: RelationTemplates,
    config: LearnConfig,
    specialisation: SpecialisationT,
    *,
    seed: int,
    report: Callable[[LearnProgress], None] = lambda _: None,
) -> Learned[SpecialisationT]:
    """Train a specialisation of the layers of `layer_range`, as `learn_mask` does, and return it.

    Raises:
        ValueError, PromptError, ObjectError: as `learn_mask`.
    """
    first, last = layer_range(base, config)
    weights = {name: base.weight(name) for name in base.shapes(first, last)}
    prompts = prompts_of(base, split.train, templates.training)
    random = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(prompt.input_ids) for prompt in prompts.encoded])
    # Drawn before learning starts: only the prompts that will be shown go through the base.
    passes = [
        _batches(lengths, prompts.wordings, config.batch_size, random) for _ in range(config.epochs)
    ]
    shown = torch.cat([facts for batches in passes for facts in batches])
    states = LowerStates(base, prompts.encoded, first, only=shown)
    judge: Judge[SpecialisationT] = Judge(base, split.validation, templates, (first, last), weights)
    optimizer = torch.optim.Adam(specialisation.parameters(), lr=config.learning_rate, fused=True)
    an_epoch = math.ceil(len(prompts.targets) / config.batch_size)
    steps = an_epoch * config.epochs
    every = max(1, an_epoch // config.validations_an_epoch)
    mean = copy.deepcopy(specialisation)

    def chosen() -> Learned[SpecialisationT]:
        metrics = {**judge.metrics, "unmasked_mrr": judge.unmasked_mrr}
        return Learned(judge.restore(specialisation), (first, last), metrics, judge.step, step)

    step = 0
    judge.try_out(specialisation, step)
    for batches in passes:
        for facts in batches:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(step, steps, config)
            specialisation.advance(step / steps)
            layers = layers_with(base, first, last, specialisation.masked(weights))
            logits = logits_of(base, states.batch(facts), layers)
            loss = functional.cross_entropy(
                logits.float(),
                prompts.targets[facts // prompts.wordings].to(base.device),
                label_smoothing=config.label_smoothing,
            )
            optimizer.zero_grad(set_to_none=True)
            penalty = specialisation.penalty()
            (loss if penalty is None else loss + penalty).backward()
            optimizer.step()
            step += 1
            _follow(mean, specialisation, config.score_average)
            if step % every == 0 or step == steps:
                judge.try_out(specialisation, step)
                if config.score_average:
                    judge.try_out(mean, step)
                report(LearnProgress(step, steps, float(loss.detach()), judge.best_mrr))
                if config.patience and judge.worse_in_a_row >= config.patience:
                    return chosen()
    return chosen()


@torch.no_grad()
def _follow(mean: Specialisation, newest: Specialisation, weight: float) -> None:
    """Move the running mean of the parameters by `weight` of the way to the newest."""
    if weight:
        for average, parameter in zip(mean.parameters(), newest.parameters(), strict=True):
            average.lerp_(parameter, weight)


def _rate(step: int, steps: int, config: LearnConfig) -> float:
    """Multiple of the learning rate at a step: linear warm-up, then level or linear decay."""
    warm = config.warmup_share * steps
    rising = (step + 1) / warm if warm else 1.0
    falling = (steps - step) / (steps - warm) if config.decay else 1.0
    return min(1.0, rising, falling)


def _batches(
    lengths: Tensor, wordings: int, batch_size: int, random: torch.Generator
) -> list[Tensor]:
    """Prompt indices of a pass, (B,) each: every fact once, under a random wording."""
    facts = torch.randperm(len(lengths) // wordings, generator=random)
    wording = torch.randint(wordings, facts.shape, generator=random)
    prompts = facts * wordings + wording
    batches: list[Tensor] = []
    for window in prompts.split(batch_size * _SORTED_BATCHES):
        batches += window[lengths[window].argsort(stable=True)].split(batch_size)
    return [batches[index] for index in torch.randperm(len(batches), generator=random).tolist()]
