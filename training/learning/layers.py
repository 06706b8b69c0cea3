"""The upper layers with other weights in place: what a mask generator's output runs in."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masks import PackedMask, weights_of
from plm import BaseModel, LayerWeights, Role, maskable_weights

# What a finished mask multiplies the weights with, (out, in) by parameter name: True or 1 keeps.
Multipliers = Mapping[str, NDArray[np.bool_] | NDArray[np.float32]]


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


def multipliers_of(mask: PackedMask) -> dict[str, NDArray[np.float32]]:
    """What a mask of one bit or of eight multiplies the weights with."""
    return {name: weights_of(mask, name) for name in mask.shapes}


def layers_under(
    base: BaseModel, layers: tuple[int, int], multipliers: Multipliers
) -> list[LayerWeights]:
    """`layers_with` for a finished mask of `layers`."""
    weights = {
        name: base.weight(name) * torch.from_numpy(part).to(base.device, base.dtype)
        for name, part in multipliers.items()
    }
    return layers_with(base, *layers, weights)
