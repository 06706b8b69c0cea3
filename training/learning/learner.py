"""Learns the mask of one relation: scores are trained, the base is frozen, validation chooses."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plm import BaseModel, default_layer_range
from training.data import RelationTemplates, Split, Triple
from training.evaluation import hits_at_k, mean_reciprocal_rank
from training.learning.config import LearnConfig
from training.learning.layers import layers_with
from training.learning.scoring import logits_of, ranks_of
from training.learning.states import LowerStates, prompts_of
from training.methods import MaskGenerator, generator_of

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
    first, last = default_layer_range(base.layer_count)
    first = config.first_layer or first
    if first > last:
        raise ValueError(f"first_layer is 1 to {last} for {base.name}, not {first}")
    weights = {name: base.weight(name) for name in base.shapes(first, last)}
    generator = generator_of(config.method)(
        base.shapes(first, last),
        mean=config.score_mean,
        deviation=config.score_deviation,
        seed=seed,
        device=base.device,
    )
    prompts = prompts_of(base, split.train, templates.training)
    random = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([len(prompt.input_ids) for prompt in prompts.encoded])
    # Drawn before learning starts: only the prompts that will be shown go through the base.
    passes = [
        _batches(lengths, prompts.wordings, config.batch_size, random) for _ in range(config.epochs)
    ]
    shown = torch.cat([facts for batches in passes for facts in batches])
    states = LowerStates(base, prompts.encoded, first, only=shown)
    judge = _Judge(base, split.validation, templates, (first, last), weights)
    optimizer = torch.optim.Adam(generator.parameters(), lr=config.learning_rate, fused=True)
    an_epoch = math.ceil(len(prompts.targets) / config.batch_size)
    steps = an_epoch * config.epochs
    every = max(1, an_epoch // config.validations_an_epoch)
    mean = copy.deepcopy(generator)
    step = 0
    judge.try_out(generator, step)
    for batches in passes:
        for facts in batches:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * _rate(step, steps, config)
            layers = layers_with(base, first, last, generator.masked(weights))
            logits = logits_of(base, states.batch(facts), layers)
            loss = functional.cross_entropy(
                logits.float(),
                prompts.targets[facts // prompts.wordings].to(base.device),
                label_smoothing=config.label_smoothing,
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            _follow(mean, generator, config.score_average)
            if step % every == 0 or step == steps:
                judge.try_out(generator, step)
                if config.score_average:
                    judge.try_out(mean, step)
                report(LearnProgress(step, steps, float(loss.detach()), judge.best_mrr))
                if config.patience and judge.worse_in_a_row >= config.patience:
                    return judge.chosen(generator, step)
    return judge.chosen(generator, step)


@torch.no_grad()
def _follow(mean: MaskGenerator, generator: MaskGenerator, weight: float) -> None:
    """Move the running mean of the scores by `weight` of the way to the newest."""
    if weight:
        for average, scores in zip(mean.scores, generator.scores, strict=True):
            average.lerp_(scores, weight)


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


class _Judge:
    """Tries masks on validation facts and remembers the best."""

    def __init__(
        self,
        base: BaseModel,
        facts: Sequence[Triple],
        templates: RelationTemplates,
        layers: tuple[int, int],
        weights: dict[str, Tensor],
    ) -> None:
        prompts = prompts_of(base, facts, [templates.evaluation])
        self._base, self._layers, self._weights = base, layers, weights
        self._targets = prompts.targets
        self._states = LowerStates(base, prompts.encoded, layers[0])
        self._unmasked_mrr = self._metrics(weights)["mrr"]
        self._best: tuple[int, dict[str, NDArray[np.bool_]], dict[str, float]] | None = None
        self.worse_in_a_row = 0

    @property
    def best_mrr(self) -> float:
        """Mean reciprocal rank of the best mask so far."""
        return 0.0 if self._best is None else self._best[2]["mrr"]

    def try_out(self, generator: MaskGenerator, step: int) -> None:
        """Keep the generator's mask if it is the best so far."""
        with torch.no_grad():
            metrics = self._metrics(generator.masked(self._weights))
        if self._best is not None and metrics["mrr"] <= self.best_mrr:
            self.worse_in_a_row += 1
            return
        self._best = (step, generator.keep(), metrics)
        self.worse_in_a_row = 0

    def chosen(self, generator: MaskGenerator, steps: int) -> LearnedMask:
        """The best mask tried."""
        assert self._best is not None
        step, keep, metrics = self._best
        return LearnedMask(
            keep=keep,
            layers=self._layers,
            threshold=generator.threshold,
            validation={**metrics, "unmasked_mrr": self._unmasked_mrr},
            step=step,
            steps=steps,
        )

    def _metrics(self, weights: dict[str, Tensor]) -> dict[str, float]:
        layers = layers_with(self._base, *self._layers, weights)
        ranks = ranks_of(self._base, self._states, self._targets, layers)
        return {
            "mrr": mean_reciprocal_rank(ranks),
            **{f"p_at_{k}": float(hits_at_k(ranks, k).mean()) for k in (1, 3, 10)},
        }
