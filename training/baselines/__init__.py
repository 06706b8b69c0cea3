"""What a mask is held against: other ways to specialise the same layers, on the same facts."""

from training.baselines.fine_tuning import FineTuning
from training.baselines.lora import LoRA
from training.baselines.neighbours import nearest_facts, nearest_objects
from training.baselines.run import BASELINES, Baseline, Done, Setting, compare_baselines

__all__ = [
    "BASELINES",
    "Baseline",
    "Done",
    "FineTuning",
    "LoRA",
    "Setting",
    "compare_baselines",
    "nearest_facts",
    "nearest_objects",
]
