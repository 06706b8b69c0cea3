"""The model being adapted: an encoder with a (new or existing) masked-LM head, and its rates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plm import activation_of, architecture_of
from training.adapt.config import AdaptConfig
from training.adapt.loss import linear_cross_entropy


@dataclass(frozen=True)
class LoadedModel:
    """`model`: a transformers `*ForMaskedLM` in fp32; `fresh_head`: whether its head is new."""

    model: Any
    tokenizer: Any
    fresh_head: bool


def load_model(source: str) -> LoadedModel:
    """An encoder or masked LM by hub id or folder, in fp32, with a tied decoder.

    Raises:
        OSError: nothing to load there (transformers' own message says what).
    """
    # Imported here: transformers takes seconds to import, and only this function needs it.
    from transformers import AutoModelForMaskedLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(source)
    model, info = AutoModelForMaskedLM.from_pretrained(
        source, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    fresh = any("transform" in name or "lm_head" in name for name in info["missing_keys"])
    return LoadedModel(model=model, tokenizer=tokenizer, fresh_head=fresh)


def start_head(model: Any, mask_token_id: int, frequencies: NDArray[np.float64]) -> None:
    """A new head that starts as the unigram model and passes the encoder's states through.

    The dense transform starts as the identity, the bias as the log unigram frequency, and the mask
    token's embedding as the mean word embedding (an encoder tuned on unmasked text never learned
    one).
    """
    decoder = model.get_output_embeddings()
    with torch.no_grad():
        for module in head_modules(model):
            if isinstance(module, nn.Linear) and module is not decoder:
                nn.init.eye_(module.weight)
                nn.init.zeros_(module.bias)
        decoder.bias.copy_(torch.from_numpy(np.log(frequencies)).float())
        embeddings = model.get_input_embeddings().weight
        shares = torch.from_numpy(frequencies).float().sqrt()
        embeddings[mask_token_id] = (shares / shares.sum()) @ embeddings


def head_modules(model: Any) -> list[nn.Module]:
    """Every module of the head: all that lies outside the encoder."""
    inside = set(model.base_model.modules())
    return [module for module in model.modules() if module not in inside and module is not model]


class AdaptedModel(nn.Module):
    """Loss of masked batches, with the mask token's embedding as a parameter of its own.

    Adam's steps do not depend on a gradient's size, so the only way to give one row of the
    embeddings its own rate is to learn its change apart; `fold` adds it in.
    """

    def __init__(self, model: Any, mask_token_id: int) -> None:
        super().__init__()
        self.model = model
        self.mask_token_id = mask_token_id
        self.pad_token_id = int(model.config.pad_token_id)
        self.mask_change = nn.Parameter(torch.zeros(model.config.hidden_size))

    def forward(self, ids: Tensor, attention: Tensor, chosen: Tensor, labels: Tensor) -> Any:
        """(mean loss in nats over the chosen pieces, how many of them were predicted right).

        ids, attention, chosen, labels: (B, T); labels are the ids before masking.
        """
        embedded = self.model.get_input_embeddings()(ids)
        hidden_mask = (ids == self.mask_token_id).unsqueeze(-1)
        states = self.model.base_model(
            inputs_embeds=embedded + hidden_mask * self.mask_change, attention_mask=attention
        ).last_hidden_state
        decoder = self.model.get_output_embeddings()
        rows = self._transform(states[chosen])
        return linear_cross_entropy(rows, decoder.weight, decoder.bias, labels[chosen])

    def _transform(self, rows: Tensor) -> Tensor:
        """The head up to its decoder, whose product the loss takes over."""
        model, parts = self.model, architecture_of(self.model.config.model_type)
        rows = model.get_submodule(parts.head_dense)(rows)
        configured = getattr(model.config, parts.sizes.activation)
        activation = activation_of(parts.head_activation or configured)
        transformed: Tensor = model.get_submodule(parts.head_norm)(activation(rows))
        return transformed

    @torch.no_grad()
    def fold(self) -> None:
        """Moves the mask token's change into the embeddings, so that the model stands alone."""
        self.model.get_input_embeddings().weight[self.mask_token_id] += self.mask_change
        self.mask_change.zero_()


def parameter_groups(adapted: AdaptedModel, config: AdaptConfig) -> list[dict[str, Any]]:
    """AdamW's groups: a rate for embeddings, lower and upper layers, head and mask token each.

    Weight decay applies to matrices only. What the settings freeze asks for no gradient and is in
    no group, so neither it nor anything below it costs a backward pass.
    """
    model = adapted.model
    head = {id(p) for module in head_modules(model) for p in module.parameters(recurse=False)}
    embeddings = {id(model.get_input_embeddings().weight)}
    layers = model.config.num_hidden_layers
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in adapted.named_parameters():
        depth = _layer_index(name)
        if config.frozen_layers and (
            parameter is adapted.mask_change
            or "embeddings" in name
            or (depth is not None and depth < config.frozen_layers)
        ):
            parameter.requires_grad_(False)
            continue
        if parameter is adapted.mask_change:
            rate = config.mask_token_rate
        elif id(parameter) in embeddings or "embeddings" in name:
            rate = config.embedding_rate
        elif id(parameter) in head:
            rate = config.head_rate
        else:
            rate = config.lower_rate if depth is not None and depth < layers / 2 else 1.0
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": config.learning_rate * rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _layer_index(name: str) -> int | None:
    """The layer a parameter lies in, counted from 0; None outside the layers."""
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def save_model(adapted: AdaptedModel, tokenizer: Any, folder: Path) -> None:
    """A standard transformers folder in fp16, the mask token's change folded in."""
    adapted.fold()
    # Halving the module and not its state keeps the decoder tied, so that it is stored once.
    adapted.model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    adapted.model.float()
