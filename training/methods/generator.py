"""What all methods that learn a mask have in common: a real score for each weight."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.methods.options import Option, complete_options, for_layers
from training.methods.specialisation import Specialisation

Export = Literal["binary", "expectation"]


class MaskGenerator(Specialisation):
    """G_r of the paper: one real score g for each maskable weight, by parameter name.

    Scores start from N(mean, deviation); `mean` 0 removes half of the weights, a mean of several
    deviations above 0 starts near the identity. A mask is what `keep` says: answers are given, and
    validation chooses, under the binary mask, whatever a training step runs under. A method that
    can export the expectation of its mask has `values` instead, and both go by these then.

    Attributes:
        name: of the method.
        OPTIONS: what can be set of it, beside what all methods have.
        EXPORTS: what its masks can be made into.
        threshold: of sigmoid(score) from which a weight is kept; None where no one value is.
        options: the values of `OPTIONS`, and those of single layers.
        layers: the layer of each weight in the order of `names`, counted from 1.
        export: what the mask is made into.

    Raises:
        ValueError: an option that the method does not have, or out of its range; an export that it
            does not have.
    """

    name: ClassVar[str]
    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    EXPORTS: ClassVar[tuple[Export, ...]] = ("binary",)
    threshold: float | None = 0.5

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
        super().__init__()
        self.options = complete_options(self.name, self.OPTIONS, options or {})
        self.check_export(export)
        self.export = export
        self.names = tuple(shapes)
        # Where nothing is said all weights are of one layer, and have the common options.
        self.layers = tuple(layers) if layers else (1,) * len(shapes)
        for name, option in self.OPTIONS.items():
            if option.by_layer:
                for_layers(name, self.options, self.layers)  # refuses a layer that is not masked
        random = torch.Generator().manual_seed(seed)
        self.scores = nn.ParameterList(
            (torch.randn(shape, generator=random) * deviation + mean).to(device)
            for shape in shapes.values()
        )

    def masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W * M for each weight by name, M as a training step has it."""
        return {
            name: self._masked(weights[name], scores, layer)
            for name, scores, layer in self._parts()
        }

    def settled(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W * M for each weight by name, M as `keep` gives it."""
        return {
            name: weights[name] * self._kept(scores.detach(), layer)
            for name, scores, layer in self._parts()
        }

    def keep(self) -> dict[str, NDArray[np.bool_]]:
        """The binary masks, (out, in) each, True where the weight is kept."""
        return {
            name: self._kept(scores.detach(), layer).cpu().numpy()
            for name, scores, layer in self._parts()
        }

    def values(self) -> dict[str, NDArray[np.uint8]] | None:
        """The expectations, (out, in) each, in steps of 1/255; None: the export is binary."""
        return None

    @classmethod
    def check_export(cls, export: str) -> None:
        """Check that the method's masks can be made into that.

        Raises:
            ValueError: they cannot; the message says into what they can.
        """
        if export not in cls.EXPORTS:
            raise ValueError(
                f"masks of method {cls.name} are exported as {' or '.join(cls.EXPORTS)}, "
                f"not as {export!r:.80}"
            )

    @abstractmethod
    def _masked(self, weight: Tensor, scores: Tensor, layer: int) -> Tensor:
        """One weight of a layer under its mask, differentiable in the scores."""

    def _kept(self, scores: Tensor, layer: int) -> Tensor:
        """Bool, True where sigmoid(g) >= 0.5, which is g >= 0."""
        return scores >= 0

    def _parts(self) -> Iterator[tuple[str, Tensor, int]]:
        """Name, scores and layer of each weight."""
        return zip(self.names, self.scores, self.layers, strict=True)


class StraightThrough(torch.autograd.Function):
    """W * M; dL/dM stands in for dL/dg (LAMP paper, section 3: straight-through estimator)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scores: Tensor, keep: Tensor) -> Tensor:
        """`keep` is bool, of the shape of the weight and its scores."""
        ctx.save_for_backward(weight)
        return weight * keep

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[None, Tensor, None]:
        """The gradient of the scores alone."""
        (weight,) = ctx.saved_tensors
        return None, outputs[0] * weight, None


def masked_straight_through(weight: Tensor, scores: Tensor, keep: Tensor) -> Tensor:
    """`StraightThrough` with its type."""
    product: Tensor = StraightThrough.apply(weight, scores, keep)  # type: ignore[no-untyped-call]
    return product
