"""The seam between what is learned of a relation and the learner: weights out of parameters."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn


class Specialisation(nn.Module, ABC):
    """What is learned of one relation: the base's weights, as its parameters change them.

    A mask generator is one, and so are the baselines that masks are held against. The learner
    trains the parameters and keeps those that validation chose; it knows nothing else of a method.
    """

    @abstractmethod
    def masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each (out, in) weight for a training step, differentiable in the parameters.

        It may be random, as a relaxed mask is.
        """

    def settled(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each (out, in) weight as answers will be given with; called without a gradient."""
        return self.masked(weights)

    def penalty(self) -> Tensor | None:
        """What a step adds to the loss, a scalar; None: nothing."""
        return None

    def advance(self, share: float) -> None:
        """Be told, before a step, which share of the steps is done, 0 to below 1.

        A schedule, of a sparsity for instance, follows it.
        """
