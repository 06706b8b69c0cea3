"""The paper's architectures, tiny and random, with tokenizers of their real classes and structure.

Real: how many layers there are, how words are cut, which tokens are special, what happens to case
and to the space before a word. Tiny: everything else.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertTokenizer,
    MPNetConfig,
    MPNetForMaskedLM,
    MPNetTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
)

CITIES = ("Paris", "London", "Rome", "Berlin")
LANDS = ("France", "England", "Italy", "Germany")
OTHERS = (
    "the old new big small town house street of in is a an was one has lies city country . , it"
)
SIZE = 16


@dataclass(frozen=True)
class Kind:
    """One architecture.

    Attributes:
        name: as people call it.
        layers: how many it has.
        masked: first and last that a mask covers by default, as in the paper.
        cased: whether the tokenizer keeps case.
    """

    name: str
    layers: int
    masked: tuple[int, int]
    cased: bool


KINDS = (
    Kind("distilbert-base-uncased", 6, (4, 6), False),
    Kind("bert-base-uncased", 12, (7, 12), False),
    Kind("bert-base-cased", 12, (7, 12), True),
    Kind("bert-large-uncased", 24, (17, 24), False),
    Kind("roberta-base", 12, (7, 12), True),
    Kind("mpnet-base", 12, (7, 12), False),
)


def write_base(kind: Kind, folder: Path) -> Path:
    """A folder as `save_pretrained` writes it."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer(kind)
    make_model(kind, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(kind: Kind) -> PreTrainedTokenizerBase:
    """As the real one reads: WordPiece, lower-cased or not, or byte-level BPE."""
    words = [*CITIES, *LANDS, *OTHERS.split()]
    if kind.name.startswith("roberta"):
        backend = ByteLevelBPETokenizer()
        text = [f" {word}" for word in words] * 3 + words
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        backend.train_from_iterator(
            text, vocab_size=900, min_frequency=1, special_tokens=special, show_progress=False
        )
        model = json.loads(backend.to_str())["model"]
        merges = [
            tuple(pair if isinstance(pair, list) else pair.split()) for pair in model["merges"]
        ]
        return RobertaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=32)
    if not kind.cased:
        words = [word.lower() for word in words]
    pieces = [*words, *(f"##{letter}" for letter in "esn"), *"abcdefghijklmnopqrstuvwxyz"]
    if kind.name.startswith("mpnet"):
        special = ("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>")
        return MPNetTokenizer(vocab=_numbered(special, pieces), model_max_length=32)
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    maker = DistilBertTokenizer if kind.name.startswith("distilbert") else BertTokenizer
    return maker(
        vocab=_numbered(special, pieces), do_lower_case=not kind.cased, model_max_length=32
    )


def make_model(kind: Kind, vocabulary: int) -> PreTrainedModel:
    """Random weights, large enough that masks change answers."""
    common = {
        "vocab_size": vocabulary,
        "max_position_embeddings": 40,
        "initializer_range": 0.3,
    }
    if kind.name.startswith("distilbert"):
        return DistilBertForMaskedLM(
            DistilBertConfig(
                **common, dim=SIZE, n_layers=kind.layers, n_heads=2, hidden_dim=2 * SIZE
            )
        )
    config, model = {
        "bert": (BertConfig, BertForMaskedLM),
        "roberta": (RobertaConfig, RobertaForMaskedLM),
        "mpnet": (MPNetConfig, MPNetForMaskedLM),
    }[kind.name.split("-")[0]]
    return model(
        config(
            **common,
            hidden_size=SIZE,
            num_hidden_layers=kind.layers,
            num_attention_heads=2,
            intermediate_size=2 * SIZE,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0 if kind.name.startswith("bert") else 1,
        )
    )


def _numbered(special: tuple[str, ...], pieces: list[str]) -> dict[str, int]:
    return {token: place for place, token in enumerate(dict.fromkeys((*special, *pieces)))}
