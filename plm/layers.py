"""A post-LN transformer layer as a function of its weights, one for all architectures.

Functional, so that the same code runs the resident weights, masked copies of them, and the
trainer's `W * M` with a gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from plm.architectures import ROLES, Role
from plm.linear import Linear, linear

Activation = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Norm:
    """Weights of a LayerNorm over the last axis.

    Attributes:
        weight: (hidden,).
        bias: (hidden,).
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, states: Tensor) -> Tensor:
        """Normalise (..., hidden)."""
        return functional.layer_norm(states, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer's weights as one mask set sees them; H hidden, F feed-forward size.

    Attributes:
        query: (H, H).
        key: (H, H).
        value: (H, H).
        attention_output: (H, H).
        feed_forward_in: (F, H).
        feed_forward_out: (H, F).
        attention_norm: LayerNorm after attention.
        feed_forward_norm: LayerNorm after the feed-forward.
    """

    query: Linear
    key: Linear
    value: Linear
    attention_output: Linear
    feed_forward_in: Linear
    feed_forward_out: Linear
    attention_norm: Norm
    feed_forward_norm: Norm

    def linear(self, role: Role) -> Linear:
        """The linear that plays a role."""
        part: Linear = getattr(self, role)
        return part

    def with_weights(self, weights: Mapping[Role, Tensor]) -> "LayerWeights":
        """A copy with other weight matrices for the roles given; biases and norms are shared.

        Raises:
            ValueError: an unknown role, or a matrix of another shape.
        """
        linears: dict[str, Linear] = {}
        for role, weight in weights.items():
            if role not in ROLES:
                raise ValueError(f"no role {role!r}; roles are {', '.join(ROLES)}")
            old = self.linear(role)
            if weight.shape != old.weight.shape:
                raise ValueError(
                    f"{role} has shape {tuple(old.weight.shape)}, not {tuple(weight.shape)}"
                )
            linears[role] = Linear(weight, old.bias)
        return replace(self, **linears)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class GroupedLayer:
    """One layer for a batch of several mask sets, whose sentences are sorted by set.

    Attributes:
        parts: the layer as each set sees it; norms are common to all.
        sizes: sentences of the batch that belong to each set.

    Raises:
        ValueError: no parts, or not one size for each.
    """

    parts: tuple[LayerWeights, ...]
    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.sizes):
            raise ValueError(f"{len(self.parts)} parts do not go with {len(self.sizes)} sizes")


def transformer_layer(
    hidden: Tensor,
    weights: LayerWeights | GroupedLayer,
    attention_bias: Tensor | None,
    *,
    heads: int,
    activation: Activation,
    rows: Tensor | None = None,
) -> Tensor:
    """Run one layer; differentiable with respect to states and weights.

    Args:
        hidden: (B, T, H).
        weights: of one mask set, or of several.
        attention_bias: added to the attention scores, broadcastable to (B, heads, T, T), or None.
        heads: attention heads.
        activation: of the feed-forward.
        rows: (B,) long; where given, only this position of each sentence is computed.

    Returns:
        (B, T, H), or (B, H) with `rows`.
    """
    if isinstance(weights, LayerWeights):
        weights = GroupedLayer((weights,), (hidden.shape[0],))
    parts, sizes = weights.parts, weights.sizes

    def apply(role: Role, states: Tensor) -> Tensor:
        return linear(states, [part.linear(role) for part in parts], sizes)

    wanted = hidden if rows is None else _at(hidden, rows)
    bias = attention_bias if rows is None else _bias_at(attention_bias, rows)
    context = attention(
        apply("query", wanted),
        apply("key", hidden),
        apply("value", hidden),
        bias,
        heads=heads,
    )
    attended = parts[0].attention_norm(apply("attention_output", context) + wanted)
    widened = activation(apply("feed_forward_in", attended))
    output = parts[0].feed_forward_norm(apply("feed_forward_out", widened) + attended)
    return output if rows is None else output.squeeze(1)


def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, *, heads: int
) -> Tensor:
    """Multi-head attention of (B, Q, H) queries over (B, T, H) keys and values -> (B, Q, H).

    `bias` is added to the scaled scores and broadcasts to (B, heads, Q, T).
    """
    query, key, value = (
        states.reshape(*states.shape[:-1], heads, -1).transpose(1, 2)
        for states in (query, key, value)
    )
    if torch.is_grad_enabled():
        # On a CPU the fused kernel's backward costs more than the whole rest of a layer for
        # sentences of 10 to 30 tokens.
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        context = torch.matmul(scores.softmax(dim=-1), value)
    else:
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return context.transpose(1, 2).flatten(2)


def _at(states: Tensor, rows: Tensor) -> Tensor:
    """(B, T, H) at (B,) positions -> (B, 1, H)."""
    return states[torch.arange(len(rows), device=rows.device), rows].unsqueeze(1)


def _bias_at(bias: Tensor | None, rows: Tensor) -> Tensor | None:
    """The bias of the queries at (B,) positions, (B or 1, heads or 1, 1, T)."""
    if bias is None or bias.shape[2] == 1:
        return bias
    whole = bias.expand(len(rows), -1, -1, -1)
    return whole[torch.arange(len(rows), device=rows.device), :, rows].unsqueeze(2)
