"""Learns relations: parameters are trained, the base is frozen, validation chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from masks import expectation_of
from plm import BaseModel, default_layer_range, maskable_weights
from training.data import RelationTemplates, Split
from training.learning.checkpoint import Checkpoint
from training.learning.config import LearnConfig
from training.learning.judge import SpecialisationT
from training.learning.layers import Multipliers
from training.learning.lesson import Learned, LearnProgress, Lesson, Task
from training.learning.reminders import Reminders
from training.learning.scoring import logits_of_groups
from training.methods import MaskGenerator, generator_of


@dataclass(frozen=True)
class LearnedMask:
    """The mask that validation chose, as it is exported: `keep` or `values`, the other is None.

    Attributes:
        keep: (out, in) bool by parameter name, True where the weight is kept.
        values: (out, in) uint8 by parameter name; the weight is multiplied by value / 255.
        layers: first and last masked layer, counted from 1.
        threshold: of sigmoid(score), or None.
        validation: `mrr`, `p_at_1`, `p_at_3`, `p_at_10` of the chosen mask, and `unmasked_mrr`.
        step: the optimiser's step it was chosen at; 0 if no step beat the start.
        steps: how many were made.
    """

    keep: dict[str, NDArray[np.bool_]] | None
    values: dict[str, NDArray[np.uint8]] | None
    layers: tuple[int, int]
    threshold: float | None
    validation: dict[str, float]
    step: int
    steps: int

    @property
    def multipliers(self) -> Multipliers:
        """What it multiplies the weights with."""
        if self.values is not None:
            return {name: expectation_of(part) for name, part in self.values.items()}
        assert self.keep is not None, "a mask has the one or the other"
        return self.keep


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
    (learned,) = learn_masks(
        base, [(split, templates)], config, seed=seed, report=lambda _, progress: report(progress)
    )
    return learned


def learn_masks(
    base: BaseModel,
    relations: Sequence[tuple[Split, RelationTemplates]],
    config: LearnConfig,
    *,
    seed: int,
    objects: Mapping[str, Sequence[str]] | None = None,
    reminders: Reminders | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[int, LearnProgress], None] = lambda _, __: None,
) -> list[LearnedMask]:
    """Learn the masks of several relations side by side, as `learn_together` does.

    `objects` by relation are what validation ranks objects among, where that is not the whole
    vocabulary (`objects_to_rank`). `report` is told which relation, by its place, and where it
    stands.

    Raises:
        ValueError, PromptError, ObjectError: as `learn_mask`.
    """
    first, last = layer_range(base, config)
    shapes = base.shapes(first, last)
    layers = [part.layer for part in maskable_weights(base.architecture, first, last)]
    tasks = [
        Task(
            split,
            templates,
            generator_of(config.method)(
                shapes,
                mean=config.score_mean,
                deviation=config.score_deviation,
                seed=seed,
                device=base.device,
                options=config.options,
                layers=layers,
                export=config.export,
            ),
            seed,
            (objects or {}).get(templates.relation),
        )
        for split, templates in relations
    ]
    learned = learn_together(
        base, tasks, config, reminders=reminders, checkpoint=checkpoint, report=report
    )
    return [_mask_of(one) for one in learned]


def _mask_of(learned: Learned[MaskGenerator]) -> LearnedMask:
    values = learned.specialisation.values()
    return LearnedMask(
        keep=learned.specialisation.keep() if values is None else None,
        values=values,
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
    objects: Sequence[str] | None = None,
    report: Callable[[LearnProgress], None] = lambda _: None,
) -> Learned[SpecialisationT]:
    """Train a specialisation of the layers of `layer_range`, as `learn_mask` does, and return it.

    Raises:
        ValueError, PromptError, ObjectError: as `learn_mask`.
    """
    task = Task(split, templates, specialisation, seed, objects)
    (learned,) = learn_together(base, [task], config, report=lambda _, progress: report(progress))
    return learned


def learn_together(
    base: BaseModel,
    tasks: Sequence[Task[SpecialisationT]],
    config: LearnConfig,
    *,
    reminders: Reminders | None = None,
    checkpoint: Checkpoint | None = None,
    report: Callable[[int, LearnProgress], None] = lambda _, __: None,
) -> list[Learned[SpecialisationT]]:
    """Train the specialisations of several relations side by side, each as if it were alone.

    A step runs a batch of every relation that is not finished through the layers at once; only the
    products with the weights are apart. What is learned differs from `learn`'s by rounding. Takes
    the memory of all relations together, about six times the covered weights for each. `reminders`
    are for a config that has a weight for them. With a `checkpoint` learning goes on from it, bit
    for bit on the same machine, and is kept there now and then; the caller removes it. `report` is
    told which task, and where it stands.

    Raises:
        ValueError, PromptError, ObjectError: as `learn_mask`.
    """
    layers = layer_range(base, config)
    if config.remember and reminders is None:
        raise ValueError("to remember there must be text to remember")
    lessons = [Lesson(base, task, config, layers, reminders) for task in tasks]
    if checkpoint and (states := checkpoint.load()) is not None:
        for lesson, state in zip(lessons, states, strict=True):
            lesson.resume(state)
    while going := [number for number, lesson in enumerate(lessons) if not lesson.finished]:
        groups = [(lessons[number].batch(), lessons[number].layers()) for number in going]
        losses = []
        total = None
        with torch.autocast(
            base.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            all_logits = logits_of_groups(base, groups)
        for number, logits in zip(going, all_logits, strict=True):
            loss = lessons[number].loss(logits)
            losses.append(loss.detach())
            for part in (loss, lessons[number].penalty()):
                if part is not None:
                    total = part if total is None else total + part
        # Each relation's parameters are in its own terms alone.
        assert total is not None
        total.backward()
        for number, loss in zip(going, losses, strict=True):
            if progress := lessons[number].learn(float(loss)):
                report(number, progress)
        if checkpoint and (checkpoint.due or all(lesson.finished for lesson in lessons)):
            checkpoint.save([lesson.state() for lesson in lessons])
    return [lesson.learned() for lesson in lessons]
