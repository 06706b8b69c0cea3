"""What all methods that learn a mask have in common: a real score for each weight."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.methods.specialisation import Specialisation


class MaskGenerator(Specialisation):
    """G_r of the paper: one real score g for each maskable weight, by parameter name.

    Scores start from N(mean, deviation); `mean` 0 removes half of the weights, a mean of several
    deviations above 0 starts near the identity.
    """

    threshold: float | None

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        *,
        mean: float,
        deviation: float,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.names = tuple(shapes)
        random = torch.Generator().manual_seed(seed)
        self.scores = nn.ParameterList(
            (torch.randn(shape, generator=random) * deviation + mean).to(device)
            for shape in shapes.values()
        )

    @abstractmethod
    def keep(self) -> dict[str, NDArray[np.bool_]]:
        """The binary masks, (out, in) each, True where the weight is kept."""
