"""The upper layers with other weights in place: what a mask generator's output runs in."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plm import BaseModel, LayerWeights, Role, maskable_weights


def layers_with(
    base: BaseModel, first: int, last: int, weights: Mapping[str, Tensor]
) -> list[LayerWeights]:
    """Layers `first` (counted from 1) to the model's last, with `weights` by parameter name.

    Layers after `last` are the base's own.
    """
    roles: dict[int, dict[Role, Tensor]] = {}
    for part in maskable_weights(base.architecture, first, last):
        roles.setdefault(part.layer, {})[part.role] = weights[part.name]
    return [
        base.layers[number - 1].with_weights(roles.get(number, {}))
        for number in range(first, base.layer_count + 1)
    ]


def layers_under(
    base: BaseModel, layers: tuple[int, int], keep: Mapping[str, NDArray[np.bool_]]
) -> list[LayerWeights]:
    """`layers_with` for a finished mask of `layers`: (out, in) bool by name, True = keep."""
    weights = {
        name: base.weight(name) * torch.from_numpy(bits).to(base.device)
        for name, bits in keep.items()
    }
    return layers_with(base, *layers, weights)
