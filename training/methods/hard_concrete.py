"""Masks whose sparsity is learned: hard-concrete gates with a price on every weight kept."""

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from training.methods.generator import Export
from training.methods.options import Option
from training.methods.stochastic import StochasticGenerator

# The stretch of Louizos et al.
GAMMA, ZETA = -0.1, 1.1


class HardConcreteGenerator(StochasticGenerator):
    """Hard-concrete gates (Louizos et al. 2018, "Learning Sparse Neural Networks through L0").

    A training step runs under a relaxed Bernoulli that is stretched to (-0.1, 1.1) and cut to
    [0, 1], so that exact zeros and ones occur. The loss has `price` times the expected share of
    weights that are not zero (equation 12). What is kept is where the gate without noise is 0.5
    or more, which is g >= 0.
    """

    name = "hard-concrete"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "temperature": Option(2 / 3, 1e-3, 100.0),
        "price": Option(0.1),
    }

    # A gate is zero with a probability of its own: sigmoid(g) is not its expectation.
    EXPORTS: ClassVar[tuple[Export, ...]] = ("binary",)

    def penalty(self) -> Tensor | None:
        """The price of what is expected not to be zero."""
        shift = self.options["temperature"] * math.log(-GAMMA / ZETA)
        count = sum(scores.numel() for scores in self.scores)
        kept = sum((scores - shift).sigmoid().sum() for scores in self.scores)
        share: Tensor = kept / count
        return self.options["price"] * share

    def _relaxed(self, scores: Tensor) -> Tensor:
        return (super()._relaxed(scores) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
