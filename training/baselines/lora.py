"""LoRA: a relation gets a difference of low rank to each matrix (Hu et al. 2022)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.methods import Specialisation

_ADAPTER = "relation"


class LoRA(Specialisation):
    """W + B A * alpha / rank for the matrices that a mask would cover; peft makes A and B.

    Args:
        weights: the base's own, (out, in) by parameter name.
        rank: of the difference.
        alpha: what the difference is scaled by, over the rank.
        seed: of A's start; B starts at zero, so that the start is the base.

    Raises:
        ImportError: peft is not installed.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], *, rank: int = 8, alpha: int = 16, seed: int = 0
    ) -> None:
        # Imported when it is asked for: nobody who learns masks needs it.
        from peft import LoraConfig  # noqa: PLC0415
        from peft.tuners.lora import Linear  # noqa: PLC0415

        super().__init__()
        self.names = tuple(weights)
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._parts = [
                Linear(_stand_in(weight), _ADAPTER, config, r=rank, lora_alpha=alpha)
                for weight in weights.values()
            ]
        # The base's weights are in peft's layers too, and are no parameters of the relation.
        self.factors = nn.ModuleList(
            nn.ModuleList([part.lora_A[_ADAPTER], part.lora_B[_ADAPTER]]) for part in self._parts
        )

    def __deepcopy__(self, memo: dict[int, object]) -> "LoRA":
        """A copy whose factors are its own."""
        first = self._parts[0]
        twin = type(self)(
            {
                name: weight
                for name, part in zip(self.names, self._parts, strict=True)
                if isinstance(weight := part.get_base_layer().weight, Tensor)
            },
            rank=first.r[_ADAPTER],
            alpha=first.lora_alpha[_ADAPTER],
        )
        twin.load_state_dict(self.state_dict())
        return twin

    def masked(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W + B A * alpha / rank for each weight by name."""
        return {
            name: weights[name] + part.get_delta_weight(_ADAPTER)
            for name, part in zip(self.names, self._parts, strict=True)
        }


def _stand_in(weight: Tensor) -> nn.Linear:
    """A linear with that very weight, without a gradient."""
    out, into = weight.shape
    layer = nn.Linear(into, out, bias=False, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    return layer
