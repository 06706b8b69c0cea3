"""The resident base model, as data and the few things that only the model itself can compute."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from plm.affine import PlainLinear
from plm.architectures import Architecture, MaskableWeight, maskable_names, maskable_weights
from plm.embeddings import Embeddings, relative_bias
from plm.layers import Activation, LayerWeights, Norm
from plm.linear import linear
from plm.parameters import Parameters
from plm.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False, repr=False)
class Head:
    """The MLM head's modules: decoder(norm(activation(dense(x)))).

    Attributes:
        dense: (H, H).
        activation: between dense and norm.
        norm: over H.
        decoder: (V, H), usually tied to the word embeddings.
    """

    dense: PlainLinear
    activation: Activation
    norm: Norm
    decoder: PlainLinear

    def __call__(self, rows: Tensor) -> Tensor:
        """Logits (N, V) of (N, H) hidden states."""
        return self.logits(self.transform(rows))

    def transform(self, rows: Tensor) -> Tensor:
        """What the decoder reads, (N, H), of (N, H) hidden states."""
        states = linear(rows, [self.dense], [len(rows)])
        return self.norm(self.activation(states))

    def logits(self, states: Tensor, token_ids: Tensor | None = None) -> Tensor:
        """Logits (N, V) of transformed (N, H) states, or (N, K) of the (K,) tokens given alone."""
        decoder = self.decoder
        if token_ids is not None:
            decoder = decoder.only(token_ids)
        return linear(states, [decoder], [len(states)])


@dataclass(frozen=True, eq=False, repr=False)
class BaseModel:
    """A frozen masked LM with its tokenizer; made by `load_base`, never changed afterwards.

    Attributes:
        name: hub id, name of an embedded base, or name of a local folder.
        source: the folder or hub id that it was read from.
        digest: `sha256:<hex>` over all weights, see `plm.digest`.
        architecture: where the model's parts are.
        parameters: all weights by name, as in the `state_dict` of the Hugging Face class.
        tokenizer: of its prompts.
        embeddings: what makes the first hidden states.
        layers: weights of each layer, the first at index 0.
        head: the MLM head.
        activation: of the feed-forward in every layer.
        hidden_size: H.
        heads: attention heads.
        vocab_size: V, rows of the word embedding.
        max_length: tokens that a prompt may have, special tokens included.
        mask_token: text of the mask token.
        mask_token_id: its id.
        pad_token_id: the id that fills short rows of a batch.
        device: where all weights are.
        dtype: of all parameters and of hidden states.
        products: in which products with matrices are computed: `dtype`, or of float32 states and
            weights bfloat16 or int8, for which the matrices are held in that type as well.
    """

    name: str
    source: str
    digest: str
    architecture: Architecture
    parameters: Parameters
    tokenizer: Tokenizer
    embeddings: Embeddings
    layers: tuple[LayerWeights, ...]
    head: Head
    activation: Activation
    hidden_size: int
    heads: int
    vocab_size: int
    max_length: int
    mask_token: str
    mask_token_id: int
    pad_token_id: int
    device: torch.device
    dtype: torch.dtype
    products: torch.dtype

    @property
    def layer_count(self) -> int:
        """How many transformer layers the model has."""
        return len(self.layers)

    @cached_property
    def maskable(self) -> Mapping[str, MaskableWeight]:
        """All weights that masks may cover, by name; each new mask asks for them."""
        weights = maskable_weights(self.architecture, 1, self.layer_count)
        return {weight.name: weight for weight in weights}

    @cached_property
    def object_texts(self) -> dict[int, str]:
        """Texts of tokens as `object_text` found them; a ranking asks for the same ones again."""
        return {}

    @property
    def has_segments(self) -> bool:
        """Whether the model tells a second segment from the first by its token types."""
        types = self.embeddings.token_types
        return self.architecture.token_types and types is not None and len(types) > 1

    def embed(
        self, input_ids: Tensor, attention_mask: Tensor, token_types: Tensor | None = None
    ) -> Tensor:
        """First hidden states (B, T, H) of (B, T) token ids; the mask is 1 for tokens, 0 padding.

        `token_types` (B, T) are 1 in a second segment, for a base that has segments; without them
        all are 0.
        """
        return self.embeddings(input_ids, attention_mask, token_types)

    def position_bias(self, length: int) -> Tensor | None:
        """Relative position bias (1, heads, T, T) of the attention scores, None without one."""
        table = self.architecture.relative_positions
        return None if table is None else relative_bias(self.parameters[table], length)

    def shapes(self, first: int, last: int) -> dict[str, tuple[int, int]]:
        """(out, in) of each maskable weight of layers `first` to `last`, counted from 1.

        Raises:
            ValueError: not 1 <= first <= last <= layer_count.
        """
        if last > self.layer_count:
            raise ValueError(f"{self.name} has layers 1 to {self.layer_count}, not {last}")
        return {
            name: (rows, columns)
            for name in maskable_names(self.architecture, first, last)
            for rows, columns in (self.parameters.shape(name),)
        }

    def weight(self, name: str) -> Tensor:
        """The parameter of that name, which is not to be written to.

        Whoever needs it again keeps it: one that is held in another form is made for this.

        Raises:
            KeyError: the model has no such parameter.
        """
        try:
            return self.parameters[name]
        except KeyError:
            raise KeyError(f"{self.name} has no parameter {name!r:.160}") from None

    def __repr__(self) -> str:
        return (
            f"BaseModel({self.name!r}, {self.architecture.model_type}, "
            f"{self.layer_count} layers, {self.products}, {self.device}, {self.digest[:19]})"
        )
