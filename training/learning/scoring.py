"""Logits of cached prompts under given upper layers, and the ranks of their targets."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from plm import (
    BaseModel,
    GroupedLayer,
    LayerWeights,
    run_layers,
    span_slots,
    token_layout,
    upper_rows,
)
from training.evaluation import Ranks, rank_targets
from training.learning.states import LowerStates, PackedStates, StateBatch

_PROMPTS_A_PASS = 256


def logits_of(base: BaseModel, batch: StateBatch, layers: Sequence[LayerWeights]) -> Tensor:
    """Logits (B, V) at the mask positions; differentiable with respect to the layers' weights."""
    rows = upper_rows(base, batch.hidden, batch.attention_mask, batch.mask_positions, layers)
    return base.head(rows)


def logits_of_groups(
    base: BaseModel, groups: Sequence[tuple[PackedStates, Sequence[LayerWeights]]]
) -> tuple[Tensor, ...]:
    """Logits (S, V) at the mask tokens of each group's prompts, under that group's layers.

    One pass for all groups, which have equally many layers: only the products with the weights are
    apart. Differentiable with respect to the weights of the layers.
    """
    lengths = torch.cat([states.lengths for states, _ in groups]).tolist()
    hidden = torch.cat([states.hidden for states, _ in groups])
    slots = span_slots(
        base,
        lengths,
        torch.cat([states.mask_positions for states, _ in groups]).tolist(),
        torch.cat([states.masks for states, _ in groups]).tolist(),
    )
    sizes = tuple(int(states.masks.sum()) for states, _ in groups)
    tokens = tuple(len(states.hidden) for states, _ in groups)
    layers = [
        GroupedLayer(parts, tokens, sizes)
        for parts in zip(*(layers for _, layers in groups), strict=True)
    ]
    rows = run_layers(base, hidden, layers, token_layout(base, lengths), slots)
    logits: Tensor = base.head(rows)
    return torch.split(logits, list(sizes))


def ranks_of(
    base: BaseModel, states: LowerStates, targets: Tensor, layers: Sequence[LayerWeights]
) -> Ranks:
    """The ranks (N,) of the targets (N,) over the whole vocabulary, in the prompts' order."""
    parts = [
        (indices, rank_targets(logits, targets[indices]))
        for indices, logits in logits_by_pass(base, states, layers)
    ]
    order = torch.cat([indices for indices, _ in parts]).argsort().numpy()
    return Ranks(
        *(
            np.concatenate([getattr(ranks, side) for _, ranks in parts])[order]
            for side in ("optimistic", "pessimistic")
        )
    )


@torch.inference_mode()
def logits_by_pass(
    base: BaseModel, states: LowerStates, layers: Sequence[LayerWeights]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices (B,) of prompts and their logits (B, V), float32, until all prompts have been run.

    Prompts of similar length share a pass.
    """
    for indices in states.lengths.argsort(stable=True).split(_PROMPTS_A_PASS):
        yield indices, logits_of(base, states.batch(indices), layers).float()
