"""Fine-tuning: a relation gets weights of its own."""

from collections.abc import Mapping

from torch import Tensor, nn

from training.methods import Specialisation


class FineTuning(Specialisation):
    """The matrices that a mask would cover, trained from where the base has them.

    Biases, norms, embeddings and the head stay the base's, as under a mask.

    Args:
        weights: the base's own, (out, in) by parameter name; they are copied.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(weights)
        self.tuned = nn.ParameterList(weight.detach().clone() for weight in weights.values())

    def masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tuned weights; those given are not looked at."""
        return dict(zip(self.names, self.tuned, strict=True))
