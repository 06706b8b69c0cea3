"""One relation on its way through learning: its batches, its optimiser, its best parameters."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import Tensor
from torch.nn import functional

from plm import BaseModel, LayerWeights
from training.data import RelationTemplates, Split
from training.learning.config import LearnConfig
from training.learning.judge import Judge, SpecialisationT
from training.learning.layers import layers_with
from training.learning.questions import MOST_TOKENS
from training.learning.reminders import Reminders, joined, reminders_a_step
from training.learning.states import LowerStates, PackedStates, prompts_of
from training.methods import Specialisation

_SORTED_BATCHES = 8  # batches are cut from prompts sorted by length within so many


@dataclass(frozen=True, eq=False)
class Task(Generic[SpecialisationT]):
    """What is learned of one relation.

    Attributes:
        split: `train` is learned from, `validation` chooses, `test` is not looked at.
        templates: of the relation.
        specialisation: what is trained.
        seed: of the order of facts and of their wordings.
        objects: what validation ranks objects among; they may then have several tokens. None: the
            whole vocabulary, and each object is one token.
    """

    split: Split
    templates: RelationTemplates
    specialisation: SpecialisationT
    seed: int
    objects: Sequence[str] | None = None


@dataclass(frozen=True)
class LearnProgress:
    """Where the learning of a relation stands; `validation_mrr` is the best so far."""

    step: int
    steps: int
    loss: float
    validation_mrr: float


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


class Lesson(Generic[SpecialisationT]):
    """The state of learning one relation, a step at a time.

    A step is `batch`, `layers`, `loss`, a backward pass by the caller, and `learn`.

    Args:
        base: the frozen base.
        task: what is learned.
        config: how.
        layers: first and last layer that is specialised, counted from 1.
        reminders: text on which answers are to stay as they are; None for none.

    Raises:
        PromptError, ObjectError: a fact cannot be a prompt (see `training.data.usable`).
    """

    def __init__(
        self,
        base: BaseModel,
        task: Task[SpecialisationT],
        config: LearnConfig,
        layers: tuple[int, int],
        reminders: Reminders | None = None,
    ) -> None:
        self._base, self._config, self._layers = base, config, layers
        self._reminders = reminders if config.remember else None
        self._reminded = torch.empty(0, dtype=torch.long)
        self._specialisation = task.specialisation
        self._weights = {name: base.weight(name) for name in base.shapes(*layers)}
        most = 1 if task.objects is None else MOST_TOKENS
        prompts = prompts_of(base, task.split.train, task.templates.training, most=most)
        self._prompts = prompts
        random = torch.Generator().manual_seed(task.seed)
        lengths = torch.tensor([len(prompt.input_ids) for prompt in prompts.encoded])
        # Drawn before learning starts: only the prompts that will be shown go through the base.
        self._batches = [
            facts
            for _ in range(config.epochs)
            for facts in batches_of_a_pass(
                lengths, prompts.wordings, config.batch_size, random, shown=config.wordings
            )
        ]
        self._random = random
        shown = torch.cat(self._batches)
        self._states = LowerStates(base, prompts.encoded, layers[0], only=shown)
        self._judge: Judge[SpecialisationT] = Judge(
            base,
            task.split.validation,
            task.templates,
            layers,
            self._weights,
            objects=task.objects,
        )
        self._optimizer = torch.optim.Adam(
            self._specialisation.parameters(), lr=config.learning_rate, fused=True
        )
        self._mean = copy.deepcopy(self._specialisation)
        an_epoch = math.ceil(len(prompts.counts) / config.batch_size)
        self._steps = an_epoch * config.epochs
        self._every = max(1, an_epoch // config.validations_an_epoch)
        self._step = 0
        self._facts = self._batches[0]
        self._judge.try_out(self._specialisation, 0)

    @property
    def finished(self) -> bool:
        """Whether there is no step left to make, or none is worth making."""
        patience = self._config.patience
        return self._step == self._steps or bool(
            patience and self._judge.worse_in_a_row >= patience
        )

    def batch(self) -> PackedStates:
        """Begin a step: the prompts that it shows, as they enter the layers."""
        self._facts = self._batches[self._step]
        rate = self._config.learning_rate * rate_at(self._step, self._steps, self._config)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._specialisation.advance(self._step / self._steps)
        states = self._states.packed(self._facts)
        if self._reminders is None:
            return states
        size = (reminders_a_step(self._config.batch_size),)
        self._reminded = torch.randint(len(self._reminders), size, generator=self._random)
        return joined(states, self._reminders.packed(self._reminded))

    def layers(self) -> Sequence[LayerWeights]:
        """The layers that the step runs under."""
        return layers_with(self._base, *self._layers, self._specialisation.masked(self._weights))

    def loss(self, logits: Tensor) -> Tensor:
        """The loss of the step, a scalar, from the logits (S, V) of what `batch` gave.

        The mean over the facts of the negative log-likelihood of their objects' tokens, each fact
        counting alike; and with reminders the weighted divergence from the unmasked model.
        """
        targets, shares = self._prompts.tokens_of(self._facts // self._prompts.wordings)
        losses = functional.cross_entropy(
            logits[: len(targets)].float(),
            targets.to(logits.device),
            label_smoothing=self._config.label_smoothing,
            reduction="none",
        )
        loss = losses @ shares.to(logits.device)
        if self._reminders is None:
            return loss
        divergence = self._reminders.divergence(logits[len(targets) :], self._reminded)
        return loss + self._config.remember * divergence

    def penalty(self) -> Tensor | None:
        """What is added to the loss of the step."""
        return self._specialisation.penalty()

    def learn(self, loss: float) -> LearnProgress | None:
        """End the step, whose gradients are there; where it stands after a validation."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._step += 1
        _follow(self._mean, self._specialisation, self._config.score_average)
        if self._step % self._every and self._step != self._steps:
            return None
        self._judge.try_out(self._specialisation, self._step)
        if self._config.score_average:
            self._judge.try_out(self._mean, self._step)
        return LearnProgress(self._step, self._steps, loss, self._judge.best_mrr)

    def state(self) -> dict[str, Any]:
        """All that changes while learning, between two steps; what `resume` goes on from."""
        return {
            "step": self._step,
            "specialisation": self._specialisation.state_dict(),
            "mean": self._mean.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "judge": self._judge.state(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave in a lesson of the same task and settings."""
        self._step = state["step"]
        self._specialisation.load_state_dict(state["specialisation"])
        self._mean.load_state_dict(state["mean"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._random.set_state(state["random"])
        self._judge.resume(state["judge"])

    def learned(self) -> Learned[SpecialisationT]:
        """The best so far."""
        return Learned(
            self._judge.restore(self._specialisation),
            self._layers,
            {**self._judge.metrics, "unmasked_mrr": self._judge.unmasked_mrr},
            self._judge.step,
            self._step,
        )


@torch.no_grad()
def _follow(mean: Specialisation, newest: Specialisation, weight: float) -> None:
    """Move the running mean of the parameters by `weight` of the way to the newest."""
    if weight:
        for average, parameter in zip(mean.parameters(), newest.parameters(), strict=True):
            average.lerp_(parameter, weight)


def rate_at(step: int, steps: int, config: LearnConfig) -> float:
    """Multiple of the learning rate at a step: a linear warm-up, then the schedule."""
    warm = config.warmup_share * steps
    rising = (step + 1) / warm if warm else 1.0
    left = min(1.0, (steps - step) / (steps - warm))
    if config.schedule == "constant":
        left = 1.0
    elif config.schedule == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return min(rising, left)


def batches_of_a_pass(
    lengths: Tensor, wordings: int, batch_size: int, random: torch.Generator, *, shown: int = 1
) -> list[Tensor]:
    """Prompt indices of a pass, (B * shown,) each: every fact once, under random wordings.

    A fact is shown under `shown` of the wordings that follow a random one, or under all if there
    are no more.
    """
    facts = torch.randperm(len(lengths) // wordings, generator=random)
    first = torch.randint(wordings, facts.shape, generator=random)
    chosen = (first[:, None] + torch.arange(min(shown, wordings))) % wordings
    prompts = facts[:, None] * wordings + chosen
    batches: list[Tensor] = []
    for window in prompts.split(batch_size * _SORTED_BATCHES):
        by_length = lengths[window].sum(dim=1).argsort(stable=True)
        batches += [batch.flatten() for batch in window[by_length].split(batch_size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=random).tolist()]
