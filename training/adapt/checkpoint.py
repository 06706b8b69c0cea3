"""What a run needs to go on where it stopped, written so that a kill never leaves half a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass
class Progress:
    """Where a run stands. tokens: word pieces read so far; batch: index within the pass."""

    pass_number: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    running_loss: float = 0.0


def save_checkpoint(
    path: Path, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Atomic: the old checkpoint stands until the new one is whole."""
    partial = path.with_suffix(".partial")
    state = {
        "progress": vars(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, partial)
    partial.replace(path)


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """The progress stored at `path`; model and optimizer take their stored state.

    Raises:
        RuntimeError: the checkpoint is of a model of another shape.
    """
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"])
