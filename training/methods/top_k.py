"""Masks of a sparsity that is given: the weights with the highest scores are kept."""

from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from training.methods.generator import MaskGenerator, masked_straight_through
from training.methods.options import Option, for_layers


class TopKGenerator(MaskGenerator):
    """Of n weights of a matrix the n - round(sparsity * n) with the highest scores are kept.

    A layer can have a sparsity of its own (`sparsity.5`). The gradient goes straight through to all
    scores (edge-popup, Ramanujan et al. 2020, "What's Hidden in a Randomly Weighted Neural
    Network?"). While learning, the sparsity rises from 0 along the cubic of Zhu and Gupta (2017,
    "To Prune, or Not to Prune") over the first `ramp` of the steps. What is kept in the end has the
    sparsity that was given, whatever the step.
    """

    name = "top-k"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "sparsity": Option(0.1, 0.0, 0.99, by_layer=True),
        "ramp": Option(0.5, 0.0, 1.0),
    }
    threshold = None

    # Of the steps that are done.
    _share: float = 0.0

    def advance(self, share: float) -> None:
        """Follow the ramp of the sparsity."""
        self._share = share

    def _masked(self, weight: Tensor, scores: Tensor, layer: int) -> Tensor:
        ramp = self.options["ramp"]
        left = max(0.0, 1.0 - self._share / ramp) if ramp else 0.0
        sparsity = self._sparsity[layer] * (1.0 - left**3)
        return masked_straight_through(weight, scores, highest(scores.detach(), sparsity))

    def _kept(self, scores: Tensor, layer: int) -> Tensor:
        return highest(scores, self._sparsity[layer])

    @cached_property
    def _sparsity(self) -> dict[int, float]:
        return for_layers("sparsity", self.options, self.layers)


def highest(scores: Tensor, sparsity: float) -> Tensor:
    """Bool, True but for the round(sparsity * n) lowest; of equal ones the first in order go."""
    removed = round(sparsity * scores.numel())
    keep = torch.ones(scores.numel(), dtype=torch.bool, device=scores.device)
    if removed:
        flat = scores.flatten()
        cut = flat.kthvalue(removed).values
        keep = flat > cut
        # Ties at the cut: as many of them stay as there are too few above it.
        spare = len(flat) - removed - int(keep.sum())
        if spare:
            tied = (flat == cut).nonzero()[:, 0]
            keep[tied[len(tied) - spare :]] = True
    return keep.view_as(scores)
