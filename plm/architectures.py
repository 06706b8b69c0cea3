"""The one registry of supported architectures, and of the weights that a mask may cover.

Paths are those of the modules inside the Hugging Face `*ForMaskedLM` classes
(`transformers.models.{bert,distilbert,roberta,mpnet}`). A new architecture is one entry here, as
long as its layers are post-LN: norm(x + attention(x)), then norm(x + feed_forward(x)).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from plm.errors import BaseModelError

Role = Literal["query", "key", "value", "attention_output", "feed_forward_in", "feed_forward_out"]
# The matrices that masks cover (LAMP paper, section 3): no bias, LayerNorm, embedding or head.
ROLES: tuple[Role, ...] = (
    "query",
    "key",
    "value",
    "attention_output",
    "feed_forward_in",
    "feed_forward_out",
)
# From this depth on the paper prunes the upper third (BERT-large: 17-24), below it the upper half.
_DEEP = 24


@dataclass(frozen=True)
class Sizes:
    """Keys of `config.json` that say how large a model is.

    Attributes:
        hidden: size of the hidden states.
        feed_forward: size inside the feed-forward.
        layers: how many layers there are.
        heads: attention heads.
        activation: name of the feed-forward's activation.
    """

    hidden: str = "hidden_size"
    feed_forward: str = "intermediate_size"
    layers: str = "num_hidden_layers"
    heads: str = "num_attention_heads"
    activation: str = "hidden_act"


@dataclass(frozen=True)
class Architecture:
    """Where the parts of a masked LM are.

    Attributes:
        model_type: as in the model's `config.json`.
        embeddings: module that maps token ids to the first hidden states.
        layers: list of the transformer layers.
        roles: path inside a layer of the linear that plays each role.
        attention_norm: path inside a layer of the LayerNorm after attention.
        feed_forward_norm: path inside a layer of the LayerNorm after the feed-forward.
        head_dense: the MLM head's first linear.
        head_norm: the head's LayerNorm.
        decoder: the head's linear over the vocabulary.
        tied: parameters that are others under a second name, by that name.
        sizes: keys of `config.json`.
        head_activation: the head's; None where it is the feed-forward's.
        norm_eps: of every LayerNorm; None where `config.json` says it.
        relative_positions: parameter of the relative position bias; None without one.
        padding_index: where positions count on from, as in fairseq; None where they count from 0.
            True: `config.json` says it.
        type_embeddings: whether there is a table of token types.
        token_types: whether the embeddings may tell a second segment from the first.
    """

    model_type: str
    embeddings: str
    layers: str
    roles: Mapping[Role, str] = field(hash=False)
    attention_norm: str
    feed_forward_norm: str
    head_dense: str
    head_norm: str
    decoder: str
    tied: Mapping[str, str] = field(hash=False)
    sizes: Sizes = Sizes()
    head_activation: str | None = None
    norm_eps: float | None = None
    relative_positions: str | None = None
    padding_index: int | Literal[True] | None = None
    type_embeddings: bool = False
    token_types: bool = False


@dataclass(frozen=True)
class MaskableWeight:
    """A weight matrix that a mask may cover.

    Attributes:
        name: parameter name, as in `model.state_dict()`.
        layer: the layer it belongs to, counted from 1.
        role: what it does in that layer.
    """

    name: str
    layer: int
    role: Role


_BERT_LAYER: Mapping[Role, str] = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "feed_forward_in": "intermediate.dense",
    "feed_forward_out": "output.dense",
}

ARCHITECTURES: Mapping[str, Architecture] = {
    entry.model_type: entry
    for entry in (
        Architecture(
            model_type="bert",
            embeddings="bert.embeddings",
            layers="bert.encoder.layer",
            roles=_BERT_LAYER,
            attention_norm="attention.output.LayerNorm",
            feed_forward_norm="output.LayerNorm",
            head_dense="cls.predictions.transform.dense",
            head_norm="cls.predictions.transform.LayerNorm",
            decoder="cls.predictions.decoder",
            tied={
                "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
                "cls.predictions.decoder.bias": "cls.predictions.bias",
            },
            type_embeddings=True,
            token_types=True,
        ),
        Architecture(
            model_type="distilbert",
            embeddings="distilbert.embeddings",
            layers="distilbert.transformer.layer",
            roles={
                "query": "attention.q_lin",
                "key": "attention.k_lin",
                "value": "attention.v_lin",
                "attention_output": "attention.out_lin",
                "feed_forward_in": "ffn.lin1",
                "feed_forward_out": "ffn.lin2",
            },
            attention_norm="sa_layer_norm",
            feed_forward_norm="output_layer_norm",
            head_dense="vocab_transform",
            head_norm="vocab_layer_norm",
            decoder="vocab_projector",
            tied={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
            sizes=Sizes("dim", "hidden_dim", "n_layers", "n_heads", "activation"),
            norm_eps=1e-12,
        ),
        Architecture(
            model_type="roberta",
            embeddings="roberta.embeddings",
            layers="roberta.encoder.layer",
            roles=_BERT_LAYER,
            attention_norm="attention.output.LayerNorm",
            feed_forward_norm="output.LayerNorm",
            head_dense="lm_head.dense",
            head_norm="lm_head.layer_norm",
            decoder="lm_head.decoder",
            tied={
                "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
                "lm_head.decoder.bias": "lm_head.bias",
            },
            head_activation="gelu",
            padding_index=True,
            type_embeddings=True,
        ),
        Architecture(
            model_type="mpnet",
            embeddings="mpnet.embeddings",
            layers="mpnet.encoder.layer",
            roles={
                "query": "attention.attn.q",
                "key": "attention.attn.k",
                "value": "attention.attn.v",
                "attention_output": "attention.attn.o",
                "feed_forward_in": "intermediate.dense",
                "feed_forward_out": "output.dense",
            },
            attention_norm="attention.LayerNorm",
            feed_forward_norm="output.LayerNorm",
            head_dense="lm_head.dense",
            head_norm="lm_head.layer_norm",
            decoder="lm_head.decoder",
            tied={
                "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
                "lm_head.decoder.bias": "lm_head.bias",
            },
            head_activation="gelu",
            relative_positions="mpnet.encoder.relative_attention_bias.weight",
            padding_index=1,
        ),
    )
}


def architecture_of(model_type: str) -> Architecture:
    """The architecture of a `config.json`'s `model_type`.

    Raises:
        BaseModelError: the type is not supported; the message lists those that are.
    """
    try:
        return ARCHITECTURES[model_type]
    except KeyError:
        raise BaseModelError(
            f"models of type {model_type!r:.80} are not supported; "
            f"supported are {', '.join(sorted(ARCHITECTURES))}"
        ) from None


def default_layer_range(layer_count: int) -> tuple[int, int]:
    """First and last layer, counted from 1, that masks cover unless told otherwise.

    The upper half (6 layers: 4-6, 12: 7-12), from 24 layers on the upper third (17-24), as in the
    LAMP paper, section 4.

    Raises:
        ValueError: there is no layer.
    """
    if layer_count < 1:
        raise ValueError(f"a model has at least one layer, not {layer_count}")
    unmasked = layer_count - layer_count // 3 if layer_count >= _DEEP else layer_count // 2
    return unmasked + 1, layer_count


def maskable_weights(
    architecture: Architecture, first: int, last: int
) -> tuple[MaskableWeight, ...]:
    """The weights of layers `first` to `last` that a mask covers, in order of layer and role.

    Raises:
        ValueError: not 1 <= first <= last.
    """
    if not 1 <= first <= last:
        raise ValueError(f"a layer range is 1 <= first <= last, not {first} to {last}")
    return tuple(
        # Layers count from 0 in parameter names.
        MaskableWeight(f"{architecture.layers}.{layer - 1}.{path}.weight", layer, role)
        for layer in range(first, last + 1)
        for role, path in ((role, architecture.roles[role]) for role in ROLES)
    )


def maskable_names(architecture: Architecture, first: int, last: int) -> tuple[str, ...]:
    """Names of `maskable_weights`, e.g. `bert.encoder.layer.3.attention.self.query.weight`.

    Raises:
        ValueError: not 1 <= first <= last.
    """
    return tuple(weight.name for weight in maskable_weights(architecture, first, last))
