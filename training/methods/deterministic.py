"""Deterministic masks: m = 1 where sigmoid(g) >= t, with the straight-through gradient."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from training.methods.generator import MaskGenerator, masked_straight_through
from training.methods.options import Option, for_layers


class DeterministicGenerator(MaskGenerator):
    """Thresholded scores, t = 0.5 (LAMP paper, section 3).

    With `keep_weight` above 0 the loss has `keep_weight * (kept - keep_rate)^2`, where `kept` is
    the share of weights that are kept; its gradient goes straight through to the scores, too. With
    a rate of its own for any layer (`keep_rate.5`) it is the mean of that over the layers.
    """

    name = "deterministic"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "keep_rate": Option(0.9, 0.0, 1.0, by_layer=True),
        "keep_weight": Option(0.0),
    }

    def penalty(self) -> Tensor | None:
        """What is added for keeping more or less than wanted; None if nothing is wanted."""
        if not self.options["keep_weight"]:
            return None
        rates = for_layers("keep_rate", self.options, self.layers)
        if len(set(rates.values())) == 1:
            rates = {0: self.options["keep_rate"]}
        prices = [(self._kept_share(layer) - rate).square() for layer, rate in rates.items()]
        return self.options["keep_weight"] * torch.stack(prices).mean()

    def _kept_share(self, layer: int) -> Tensor:
        """Share of a layer's weights that are kept, or of all for 0: a scalar.

        The value of the hard mask, the gradient of the scores.
        """
        parts = [scores for _, scores, of in self._parts() if layer in (0, of)]
        kept = [
            (self._kept(scores, layer).float() + scores - scores.detach()).sum() for scores in parts
        ]
        return torch.stack(kept).sum() / sum(scores.numel() for scores in parts)

    def _masked(self, weight: Tensor, scores: Tensor, layer: int) -> Tensor:
        return masked_straight_through(weight, scores, self._kept(scores, layer))
