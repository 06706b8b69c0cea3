"""The model in two halves: the layers all mask sets share, and the layers run for each of them.

Plain functions of tensors: the engine runs them for answers, the trainer for gradients.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from plm.base import BaseModel
from plm.cloze import EncodedBatch
from plm.layers import GroupedLayer, LayerWeights, transformer_layer
from plm.layout import Layout, Slots


def run_layers(
    base: BaseModel,
    hidden: Tensor,
    layers: Sequence[LayerWeights | GroupedLayer],
    layout: Layout,
    slots: Slots | None = None,
) -> Tensor:
    """Run layers over (N, H) packed states, with slots the last of them at the slots alone.

    Returns (N, H), or (S, H) with slots; differentiable with respect to states and weights.
    """
    for number, weights in enumerate(layers, start=1):
        hidden = transformer_layer(
            hidden,
            weights,
            layout,
            heads=base.heads,
            activation=base.activation,
            slots=slots if number == len(layers) else None,
        )
    return hidden


def lower_states(base: BaseModel, batch: EncodedBatch, below_layer: int) -> Tensor:
    """Hidden states (B, T, H) that enter layer `below_layer`, counted from 1, without gradient.

    1 gives the embeddings; layer_count + 1 gives the last layer's output.

    Raises:
        ValueError: not 1 <= below_layer <= layer_count + 1.
    """
    if not 1 <= below_layer <= base.layer_count + 1:
        raise ValueError(f"layers are 1 to {base.layer_count}, not {below_layer}")
    with torch.no_grad():
        hidden = base.embed(batch.input_ids, batch.attention_mask)
        layout = _whole(base, batch.attention_mask)
        return run_layers(
            base, hidden.flatten(0, 1), base.layers[: below_layer - 1], layout
        ).view_as(hidden)


def upper_rows(
    base: BaseModel,
    hidden: Tensor,
    attention_mask: Tensor,
    mask_positions: Tensor,
    layers: Sequence[LayerWeights],
) -> Tensor:
    """Run the given layers, the last of them at the mask positions only.

    Args:
        base: whose heads, activation and position bias the layers have.
        hidden: (B, T, H) that enter the first of the layers, e.g. of `lower_states`.
        attention_mask: (B, T), 1 for tokens and 0 for padding.
        mask_positions: (B,) long.
        layers: the layers up to and including the model's last.

    Returns:
        (B, H), ready for `base.head`; differentiable with respect to states and weights.

    Raises:
        ValueError: there are no layers.
    """
    if not layers:
        raise ValueError("the upper half has at least the model's last layer")
    starts = torch.arange(len(hidden), device=hidden.device) * hidden.shape[1]
    places = starts + mask_positions
    slots = Slots(places, mask_positions[:, None], None, np.arange(len(hidden) + 1))
    return run_layers(base, hidden.flatten(0, 1), layers, _whole(base, attention_mask), slots)


def attention_bias(base: BaseModel, attention_mask: Tensor) -> Tensor | None:
    """What is added to attention scores: padding and relative positions.

    (B or 1, heads or 1, T or 1, T) for a (B, T) mask, or None where there is nothing to add.
    """
    positions = base.position_bias(attention_mask.shape[1])
    # On a GPU looking into the mask would make the host wait for the device.
    if attention_mask.device.type == "cpu" and bool(attention_mask.all()):
        return positions
    hidden = (attention_mask == 0)[:, None, None, :]
    padding = torch.zeros(hidden.shape, dtype=base.dtype, device=attention_mask.device)
    padding = padding.masked_fill(hidden, torch.finfo(base.dtype).min)
    return padding if positions is None else padding + positions


def _whole(base: BaseModel, attention_mask: Tensor) -> Layout:
    """The padded batch itself as a layout: its padding takes part in the linears."""
    sentences, longest = attention_mask.shape
    return Layout(sentences, longest, None, attention_bias(base, attention_mask))
