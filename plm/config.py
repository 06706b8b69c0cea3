"""What a model's `config.json` says, as far as running the model needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plm.architectures import Architecture, architecture_of


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of a masked LM.

    Attributes:
        architecture: where its parts are.
        vocab_size: V, rows of the word embedding.
        hidden_size: H.
        feed_forward_size: F.
        layer_count: how many layers there are.
        heads: attention heads.
        activation: name of the feed-forward's, as transformers has it.
        norm_eps: added to the variance by every LayerNorm.
        positions: rows of the position embedding.
        token_types: rows of the token-type embedding, 0 without one.
        padding_index: where positions count on from, None where they count from 0.
        tied: whether the decoder's weights are those of the word embedding.
    """

    architecture: Architecture
    vocab_size: int
    hidden_size: int
    feed_forward_size: int
    layer_count: int
    heads: int
    activation: str
    norm_eps: float
    positions: int
    token_types: int
    padding_index: int | None
    tied: bool

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """The config of the values of a `config.json`.

        Raises:
            KeyError: something is left to the defaults of the model's class.
            BaseModelError: the architecture is not supported.
        """
        architecture = architecture_of(str(values["model_type"]))
        sizes, padding = architecture.sizes, architecture.padding_index
        eps = architecture.norm_eps
        return cls(
            architecture=architecture,
            vocab_size=int(values["vocab_size"]),
            hidden_size=int(values[sizes.hidden]),
            feed_forward_size=int(values[sizes.feed_forward]),
            layer_count=int(values[sizes.layers]),
            heads=int(values[sizes.heads]),
            activation=str(values[sizes.activation]),
            norm_eps=float(values["layer_norm_eps"]) if eps is None else eps,
            positions=int(values["max_position_embeddings"]),
            token_types=int(values["type_vocab_size"]) if architecture.type_embeddings else 0,
            padding_index=int(values["pad_token_id"]) if padding is True else padding,
            tied=bool(values.get("tie_word_embeddings", True)),
        )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's shape by name, those that are tied to another left out."""
        parts, hidden, wide = self.architecture, self.hidden_size, self.feed_forward_size
        embeddings = {"word": self.vocab_size, "position": self.positions}
        if self.token_types:
            embeddings["token_type"] = self.token_types
        shapes: dict[str, tuple[int, ...]] = {
            f"{parts.embeddings}.{kind}_embeddings.weight": (rows, hidden)
            for kind, rows in embeddings.items()
        }
        norms = [f"{parts.embeddings}.LayerNorm", parts.head_norm]
        linears = {parts.head_dense: (hidden, hidden), parts.decoder: (self.vocab_size, hidden)}
        of_roles = {"feed_forward_in": (wide, hidden), "feed_forward_out": (hidden, wide)}
        for number in range(self.layer_count):
            layer = f"{parts.layers}.{number}"
            norms += [f"{layer}.{parts.attention_norm}", f"{layer}.{parts.feed_forward_norm}"]
            for role, path in parts.roles.items():
                linears[f"{layer}.{path}"] = of_roles.get(role, (hidden, hidden))
        for path in norms:
            shapes |= {f"{path}.weight": (hidden,), f"{path}.bias": (hidden,)}
        for path, (rows, columns) in linears.items():
            shapes |= {f"{path}.weight": (rows, columns), f"{path}.bias": (rows,)}
        if parts.relative_positions:
            shapes[parts.relative_positions] = (RELATIVE_BUCKETS, self.heads)
        return {parts.tied.get(name, name): shape for name, shape in shapes.items()}


# Of the relative positions; the published classes compute with this number whatever a config says.
RELATIVE_BUCKETS = 32
