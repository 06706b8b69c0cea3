"""Learns relation masks over a frozen base: prompts, cached states, the learner, its settings.

`learn_mask` is one relation; `training.run` does many and writes the pack.
"""

from training.learning.checkpoint import Checkpoint
from training.learning.config import PRESETS, LearnConfig, Precision, Schedule, preset
from training.learning.layers import Multipliers, layers_under, layers_with, multipliers_of
from training.learning.learner import (
    LearnedMask,
    layer_range,
    learn,
    learn_mask,
    learn_masks,
    learn_together,
)
from training.learning.lesson import Learned, LearnProgress, Task
from training.learning.questions import MOST_TOKENS, objects_to_rank, questions_of
from training.learning.reminders import Reminders, reminders_of
from training.learning.scoring import logits_by_pass, ranks_of
from training.learning.states import LowerStates, object_tokens, prompts_of

__all__ = [
    "MOST_TOKENS",
    "PRESETS",
    "Checkpoint",
    "LearnConfig",
    "LearnProgress",
    "Learned",
    "LearnedMask",
    "LowerStates",
    "Multipliers",
    "Precision",
    "Reminders",
    "Schedule",
    "Task",
    "layer_range",
    "layers_under",
    "layers_with",
    "learn",
    "learn_mask",
    "learn_masks",
    "learn_together",
    "logits_by_pass",
    "multipliers_of",
    "object_tokens",
    "objects_to_rank",
    "preset",
    "prompts_of",
    "questions_of",
    "ranks_of",
    "reminders_of",
]
