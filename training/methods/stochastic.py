"""Stochastic masks: each weight is kept with a probability that is learned."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.methods.generator import Export, MaskGenerator
from training.methods.options import Option

_NOISE_SEED = 0x9E3779B9
_STEPS = 255  # of a value of eight bits


class StochasticGenerator(MaskGenerator):
    """Relaxed Bernoulli masks (LAMP paper, section 3; Maddison et al. 2017, Jang et al. 2017).

    A training step runs under m = sigmoid((g + log U - log(1 - U)) / temperature), U uniform on
    (0, 1). The mask that is kept is the likelier value of each weight, sigmoid(g) >= 0.5; exported
    as the expectation, it is sigmoid(g) in steps of 1/255, as a mask file of 8 bits has it.
    """

    name = "stochastic"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"temperature": Option(0.1, 1e-3, 100.0)}
    EXPORTS: ClassVar[tuple[Export, ...]] = ("binary", "expectation")

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, int]],
        *,
        mean: float,
        deviation: float,
        seed: int,
        device: torch.device,
        options: Mapping[str, float] | None = None,
        layers: Sequence[int] | None = None,
        export: Export = "binary",
    ) -> None:
        super().__init__(
            shapes,
            mean=mean,
            deviation=deviation,
            seed=seed,
            device=device,
            options=options,
            layers=layers,
            export=export,
        )
        if export == "expectation":
            # Nothing is cut.
            self.threshold = None
        # Of its own, so that the draws depend on the seed and the step alone; and of another seed
        # than the scores', or the first draws would go with them.
        self._noise = torch.Generator(device).manual_seed(_NOISE_SEED ^ seed)

    def get_extra_state(self) -> Tensor:
        """Where the draws stand, for `state_dict`."""
        return self._noise.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on drawing from there."""
        self._noise.set_state(state.cpu())

    def __deepcopy__(self, _: dict[int, object]) -> "StochasticGenerator":
        """A copy with the same scores; a torch generator cannot be copied, and is not shared."""
        shapes = {
            name: tuple(scores.shape) for name, scores in zip(self.names, self.scores, strict=True)
        }
        twin = type(self)(
            shapes,
            mean=0.0,
            deviation=1.0,
            seed=_NOISE_SEED ^ self._noise.initial_seed(),
            device=self.scores[0].device,
            options=self.options,
            layers=self.layers,
            export=self.export,
        )
        twin.load_state_dict(self.state_dict())
        return twin

    def settled(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W * M for each weight by name, M as it is exported."""
        if self.export == "binary":
            return super().settled(weights)
        return {
            name: weights[name] * (_quantised(scores.detach()).to(weights[name].dtype) / _STEPS)
            for name, scores in zip(self.names, self.scores, strict=True)
        }

    def values(self) -> dict[str, NDArray[np.uint8]] | None:
        """The expectations, (out, in) each, in steps of 1/255; None: the export is binary."""
        if self.export == "binary":
            return None
        return {
            name: _quantised(scores.detach()).cpu().numpy()
            for name, scores in zip(self.names, self.scores, strict=True)
        }

    def _masked(self, weight: Tensor, scores: Tensor, layer: int) -> Tensor:
        return weight * self._relaxed(scores)

    def _relaxed(self, scores: Tensor) -> Tensor:
        noise = logistic_noise(scores, self._noise)
        return torch.sigmoid((scores + noise) / self.options["temperature"])


def _quantised(scores: Tensor) -> Tensor:
    """sigmoid(g) to the nearest value / 255, uint8."""
    return (scores.sigmoid() * _STEPS).round().to(torch.uint8)


def logistic_noise(like: Tensor, random: torch.Generator) -> Tensor:
    """log U - log(1 - U) of the shape of `like`, U uniform on the open interval (0, 1)."""
    uniform = torch.rand(like.shape, generator=random, device=like.device, dtype=like.dtype)
    # 0 can be drawn; its logarithm is no number to go on with.
    return uniform.clamp(min=torch.finfo(like.dtype).tiny).logit()
