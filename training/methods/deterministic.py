"""Deterministic masks: m = 1 where sigmoid(g) >= t, with the straight-through gradient."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.methods.generator import MaskGenerator


class _ThresholdedProduct(torch.autograd.Function):
    """W * M; dL/dM stands in for dL/dg (LAMP paper, section 3: straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        # sigmoid(g) >= 0.5 is g >= 0.
        return weight * (scores >= 0)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, Tensor]:
        (weight,) = ctx.saved_tensors
        return None, outputs[0] * weight


class DeterministicGenerator(MaskGenerator):
    """Thresholded scores, t = 0.5."""

    threshold = 0.5

    def masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W * M for each weight by name."""
        return {
            name: _ThresholdedProduct.apply(weights[name], scores)  # type: ignore[no-untyped-call]
            for name, scores in zip(self.names, self.scores, strict=True)
        }

    def keep(self) -> dict[str, NDArray[np.bool_]]:
        """True where the score is not below the threshold."""
        return {
            name: (scores.detach() >= 0).cpu().numpy()
            for name, scores in zip(self.names, self.scores, strict=True)
        }
