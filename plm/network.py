"""The parts of a model as the engine runs them, made of parameters by name."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from plm.affine import AnyLinear, BlockedLinear, PlainLinear, resident
from plm.architectures import ROLES, Role
from plm.base import Head
from plm.config import ModelConfig
from plm.embeddings import Embeddings
from plm.errors import BaseModelError
from plm.layers import Activation, LayerWeights, Norm
from plm.native import BlockedWeight

_TANH_GELU: Activation = partial(functional.gelu, approximate="tanh")
# By the names that transformers has for them.
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": functional.gelu,
    "gelu_python": functional.gelu,
    "gelu_new": _TANH_GELU,
    "gelu_pytorch_tanh": _TANH_GELU,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
}


def activation_of(name: str) -> Activation:
    """The activation that a config names.

    Raises:
        BaseModelError: it is none of those that a base may have.
    """
    try:
        return ACTIVATIONS[name]
    except KeyError:
        raise BaseModelError(
            f"activation {name!r:.80} is not supported; supported are "
            f"{', '.join(sorted(ACTIVATIONS))}"
        ) from None


def embeddings_of(parameters: Mapping[str, Tensor], config: ModelConfig) -> Embeddings:
    """The tables before the layers."""
    path = config.architecture.embeddings
    return Embeddings(
        words=parameters[f"{path}.word_embeddings.weight"],
        positions=parameters[f"{path}.position_embeddings.weight"],
        token_types=parameters.get(f"{path}.token_type_embeddings.weight"),
        norm=_norm(parameters, f"{path}.LayerNorm", config),
        padding_index=config.padding_index,
    )


def layers_of(
    parameters: Mapping[str, Tensor], config: ModelConfig, products: torch.dtype
) -> tuple[LayerWeights, ...]:
    """Every layer, the first at index 0, held for products in a type (`resident`).

    Raises:
        ValueError: no kernel here has products of its matrices in that type.
    """
    return tuple(
        _layer(parameters, f"{config.architecture.layers}.{number}", config, products)
        for number in range(config.layer_count)
    )


def head_of(parameters: Mapping[str, Tensor], config: ModelConfig, products: torch.dtype) -> Head:
    """The MLM head, likewise."""
    architecture = config.architecture
    return Head(
        dense=_linear(parameters, architecture.head_dense, products),
        activation=activation_of(architecture.head_activation or config.activation),
        norm=_norm(parameters, architecture.head_norm, config),
        decoder=_linear(parameters, architecture.decoder, products, shared=config.tied),
    )


def held_weights(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    layers: Sequence[LayerWeights],
    head: Head,
) -> dict[str, Tensor | BlockedWeight]:
    """The parameters in the forms in which these parts of them are held, so that none is twice."""
    architecture = config.architecture
    parts: dict[str, AnyLinear] = {
        f"{architecture.layers}.{number}.{architecture.roles[role]}": part
        for number, layer in enumerate(layers)
        for role, part in layer.linears()
    }
    parts |= {architecture.head_dense: head.dense, architecture.decoder: head.decoder}
    forms: dict[int, Tensor | BlockedWeight] = {}
    for path, part in parts.items():
        if isinstance(part, BlockedLinear):
            form = part.blocked if part.original is None else part.original
        else:
            form = part.weight
        forms[id(parameters[f"{path}.weight"])] = form
    return {name: forms.get(id(parameter), parameter) for name, parameter in parameters.items()}


def _layer(
    parameters: Mapping[str, Tensor], path: str, config: ModelConfig, products: torch.dtype
) -> LayerWeights:
    architecture = config.architecture
    linears: dict[Role, PlainLinear] = {
        role: _linear(parameters, f"{path}.{architecture.roles[role]}", products) for role in ROLES
    }
    return LayerWeights(
        **linears,
        attention_norm=_norm(parameters, f"{path}.{architecture.attention_norm}", config),
        feed_forward_norm=_norm(parameters, f"{path}.{architecture.feed_forward_norm}", config),
    )


def _linear(
    parameters: Mapping[str, Tensor], path: str, products: torch.dtype, *, shared: bool = False
) -> PlainLinear:
    weight, bias = parameters[f"{path}.weight"], parameters[f"{path}.bias"]
    return resident(weight, bias, products, shared=shared)


def _norm(parameters: Mapping[str, Tensor], path: str, config: ModelConfig) -> Norm:
    return Norm(parameters[f"{path}.weight"], parameters[f"{path}.bias"], config.norm_eps)
