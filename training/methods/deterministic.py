"""Deterministic masks: m = 1 where sigmoid(g) >= t, with the straight-through gradient."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from training.methods.generator import MaskGenerator, masked_straight_through
from training.methods.options import Option


class DeterministicGenerator(MaskGenerator):
    """Thresholded scores, t = 0.5 (LAMP paper, section 3).

    With `keep_weight` above 0 the loss has `keep_weight * (kept - keep_rate)^2`, where `kept` is
    the share of weights that are kept; its gradient goes straight through to the scores, too.
    """

    name = "deterministic"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "keep_rate": Option(0.9, 0.0, 1.0),
        "keep_weight": Option(0.0),
    }

    def penalty(self) -> Tensor | None:
        """What is added for keeping more or less than wanted; None if nothing is wanted."""
        if not self.options["keep_weight"]:
            return None
        count = sum(scores.numel() for scores in self.scores)
        # The value of the hard mask, the gradient of the scores.
        kept = sum(
            (self._kept(scores).float() + scores - scores.detach()).sum() for scores in self.scores
        )
        off: Tensor = kept / count - self.options["keep_rate"]
        return self.options["keep_weight"] * off.square()

    def _masked(self, weight: Tensor, scores: Tensor) -> Tensor:
        return masked_straight_through(weight, scores, self._kept(scores))
