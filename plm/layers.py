"""A post-LN transformer layer as a function of its weights, one for all architectures.

Functional, so that the same code runs the resident weights, masked copies of them, and the
trainer's `W * M` with a gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from plm.affine import AnyLinear, Linear
from plm.architectures import ROLES, Role
from plm.cuda import cuda_attention
from plm.layout import Layout, Slots
from plm.linear import linear
from plm.native import LayerKernel, layer_kernel

Activation = Callable[[Tensor], Tensor]

# Tokens up to which a CPU computes attention in half the time of the fused kernel, which blocks
# for long sentences; its backward costs more than the whole rest of a layer.
_SHORT = 32


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

    query: AnyLinear
    key: AnyLinear
    value: AnyLinear
    attention_output: AnyLinear
    feed_forward_in: AnyLinear
    feed_forward_out: AnyLinear
    attention_norm: Norm
    feed_forward_norm: Norm

    def linear(self, role: Role) -> AnyLinear:
        """The linear that plays a role."""
        part: AnyLinear = getattr(self, role)
        return part

    def linears(self) -> tuple[tuple[Role, AnyLinear], ...]:
        """Every role with its linear."""
        return tuple((role, self.linear(role)) for role in ROLES)

    def with_weights(self, weights: Mapping[Role, Tensor]) -> "LayerWeights":
        """A copy with other weight matrices for the roles given; biases and norms are shared.

        Raises:
            ValueError: an unknown role, or a matrix of another shape.
        """
        linears: dict[Role, AnyLinear] = {}
        for role, weight in weights.items():
            if role not in ROLES:
                raise ValueError(f"no role {role!r}; roles are {', '.join(ROLES)}")
            old = self.linear(role)
            if weight.shape != old.shape:
                raise ValueError(f"{role} has shape {old.shape}, not {tuple(weight.shape)}")
            linears[role] = Linear(weight, old.bias)
        return self.with_linears(linears)

    def with_linears(self, linears: Mapping[Role, AnyLinear]) -> "LayerWeights":
        """A copy with other linears for the roles given."""
        return replace(self, **linears)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class GroupedLayer:
    """One layer for a batch of several mask sets, whose sentences are sorted by set.

    Attributes:
        parts: the layer as each set sees it; norms are common to all.
        tokens: tokens of the batch that belong to each set.
        slots: slots of the batch that belong to each set.

    Raises:
        ValueError: no parts, or not one size for each.
    """

    parts: tuple[LayerWeights, ...]
    tokens: tuple[int, ...]
    slots: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.parts or not len(self.parts) == len(self.tokens) == len(self.slots):
            raise ValueError(
                f"{len(self.parts)} parts do not go with {len(self.tokens)} sizes in tokens and "
                f"{len(self.slots)} in slots"
            )


@dataclass(frozen=True, eq=False)
class AddressedLayer(GroupedLayer):
    """The same as one part, whose linears are told of the sets themselves (`GroupedLinear`).

    Raises:
        ValueError: not one part, or not as many sizes in tokens as in slots.
    """

    def __post_init__(self) -> None:
        if len(self.parts) != 1 or len(self.tokens) != len(self.slots):
            raise ValueError(
                f"{len(self.parts)} parts, {len(self.tokens)} sizes in tokens and "
                f"{len(self.slots)} in slots do not go together"
            )


def transformer_layer(
    hidden: Tensor,
    weights: LayerWeights | GroupedLayer,
    layout: Layout,
    *,
    heads: int,
    activation: Activation,
    slots: Slots | None = None,
) -> Tensor:
    """Run one layer; differentiable with respect to states and weights.

    Args:
        hidden: (N, H), the sentences' tokens end to end.
        weights: of one mask set, or of several.
        layout: where the tokens stand in their sentences, and the attention bias.
        heads: attention heads.
        activation: of the feed-forward.
        slots: where given, only these positions are computed.

    Returns:
        (N, H), or (S, H) with slots.
    """
    if isinstance(weights, LayerWeights):
        count = 0 if slots is None else len(slots)
        weights = GroupedLayer((weights,), (hidden.shape[0],), (count,))
    parts, tokens = weights.parts, weights.tokens
    asked = tokens if slots is None else weights.slots

    native = _native(hidden, layout, heads)

    def apply(role: Role, states: Tensor, sizes: Sequence[int]) -> Tensor:
        own = [part.linear(role) for part in parts]
        # Natively the bias is added by what reads the product.
        return linear(states, own, sizes, biased=native is None)

    def bias(role: Role) -> Tensor | None:
        return parts[0].linear(role).bias

    wanted = hidden if slots is None else hidden[slots.tokens]
    query, key, value = (
        apply("query", wanted, asked),
        apply("key", hidden, tokens),
        apply("value", hidden, tokens),
    )
    if native is None:
        context = _varlen_attention(query, key, value, layout, slots, heads=heads)
        if context is None:
            context = _padded_attention(query, key, value, layout, slots, heads=heads)
    else:
        assert layout.starts is not None
        starts = layout.starts if slots is None else slots.starts
        context = native.attention(
            query,
            key,
            value,
            layout.starts,
            starts,
            heads=heads,
            query_bias=bias("query"),
            value_bias=bias("value"),
        )
    attended = apply("attention_output", context, asked)
    norm = parts[0].attention_norm
    attended = _norm_of_sum(native, norm, attended, bias("attention_output"), wanted)
    widened = apply("feed_forward_in", attended, asked)
    widened = _activated(native, activation, widened, bias("feed_forward_in"))
    output = apply("feed_forward_out", widened, asked)
    norm = parts[0].feed_forward_norm
    return _norm_of_sum(native, norm, output, bias("feed_forward_out"), attended)


def _native(hidden: Tensor, layout: Layout, heads: int) -> LayerKernel | None:
    """What does a layer's rest natively, or None where PyTorch does it."""
    if torch.is_grad_enabled() or layout.starts is None or (native := layer_kernel()) is None:
        return None
    return native if native.takes(hidden, heads, layout.longest) else None


def _activated(
    native: LayerKernel | None, activation: Activation, states: Tensor, bias: Tensor | None
) -> Tensor:
    """The activation of states, which natively have yet to get their bias."""
    if native is not None and activation is functional.gelu:
        return native.gelu_(states, bias)
    return activation(states if native is None or bias is None else states.add_(bias))


def _norm_of_sum(
    native: LayerKernel | None, norm: Norm, states: Tensor, bias: Tensor | None, residual: Tensor
) -> Tensor:
    """LayerNorm of states and residual; natively the states have yet to get their bias."""
    if native is None:
        return norm(states + residual)
    return native.norm_of_sum(
        states,
        residual.contiguous(),
        norm.weight,
        norm.bias,
        norm.eps,
        states_bias=bias,
    )


def _varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, slots: Slots | None, *, heads: int
) -> Tensor | None:
    """Attention of packed rows as they lie, by the Triton kernel; None where it is not the one."""
    starts = layout.device_starts
    asked = starts if slots is None else slots.device_starts
    if torch.is_grad_enabled() or starts is None or asked is None:
        return None
    if (run := cuda_attention()) is None or not run.takes(key, heads):
        return None
    most = layout.longest if slots is None else slots.positions.shape[1]
    return run(
        query,
        key,
        value,
        starts,
        asked,
        heads=heads,
        longest=layout.longest,
        most_queries=most,
    )


def _padded_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, slots: Slots | None, *, heads: int
) -> Tensor:
    """Attention of packed rows by way of a padded batch."""
    context = attention(
        layout.pad(query) if slots is None else slots.pad(query),
        layout.pad(key),
        layout.pad(value),
        layout.bias if slots is None else slots.bias(layout.bias),
        heads=heads,
    )
    return layout.unpad(context) if slots is None else slots.unpad(context)


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
    if torch.is_grad_enabled() or (key.device.type == "cpu" and key.shape[2] <= _SHORT):
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        context = torch.matmul(scores.softmax(dim=-1), value)
    else:
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return context.transpose(1, 2).flatten(2)
