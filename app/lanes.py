"""How many passes run side by side, and on how many threads each."""

from dataclasses import dataclass
from typing import Self

import torch

from app.settings import Settings
from plm import BaseModel

# Passes that run side by side on a CPU under load. One pass leaves processors idle between its
# operations, and all of them whenever another thread takes one: two passes fill those gaps.
_SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class Lanes:
    """Passes side by side.

    Attributes:
        count: how many there are at most.
        all_threads: CPU threads of a pass that runs alone.
    """

    count: int
    all_threads: int

    @classmethod
    def of(cls, base: BaseModel, settings: Settings) -> Self:
        """Two on a CPU with threads for them, one elsewhere."""
        on_cpu = base.device.type == "cpu"
        threads = (settings.threads or torch.get_num_threads()) if on_cpu else 1
        return cls(_SIDE_BY_SIDE if threads >= _SIDE_BY_SIDE else 1, threads)

    def take(self, *, alone: bool) -> None:
        """Give the calling thread's next pass its threads: all of them, or its lane's share."""
        # torch keeps this number for each thread that calls it.
        torch.set_num_threads(self.all_threads if alone else self.all_threads // self.count)
