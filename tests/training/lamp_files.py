"""Files as the code of the LAMP paper saves them, and what it prunes by them, written out anew."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import prune

# Within a layer, in the order of the file: paths of Hugging Face's modules.
BERT = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
DISTILBERT = (
    *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    *("ffn.lin1", "ffn.lin2"),
)
MPNET = (
    *("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o"),
    *("intermediate.dense", "output.dense"),
)
MODULES = {
    "bert": ("bert.encoder.layer", BERT),
    "distilbert": ("distilbert.transformer.layer", DISTILBERT),
    "roberta": ("roberta.encoder.layer", BERT),
    "mpnet": ("mpnet.encoder.layer", MPNET),
}
MODELS = {
    "bert": "bert-base-uncased",
    "distilbert": "distilbert-base-uncased",
    "roberta": "roberta-base",
    "mpnet": "mpnet-base",
}


def modules_of(model: nn.Module, model_type: str, first: int, last: int) -> list[nn.Module]:
    """The linears of layers `first` to `last`, counted from 0, in the order of LAMP's files."""
    layers, paths = MODULES[model_type]
    return [
        model.get_submodule(f"{layers}.{layer}.{path}")
        for layer in range(first, last + 1)
        for path in paths
    ]


def random_scores(modules: Sequence[nn.Module], seed: int = 0) -> list[nn.Parameter]:
    """Scores around 0, a tenth of them 0 exactly."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for module in modules:
        scores = torch.randn(module.weight.shape, generator=random)
        scores[torch.rand(scores.shape, generator=random) < 0.1] = 0.0
        found.append(nn.Parameter(scores))
    return found


def prune_as_lamp(modules: Sequence[nn.Module], scores: Sequence[torch.Tensor]) -> None:
    """Prune a model as the paper's code does: what stays has sigmoid(score) > 0.5."""
    for module, matrix in zip(modules, scores, strict=True):
        prune.custom_from_mask(module, "weight", (torch.sigmoid(matrix) > 0.5).detach())


def lamp_name(model_type: str, relation: str, matrices: int, first: int, last: int) -> str:
    return f"{MODELS[model_type]}_{relation}_{matrices}_{first}_{last}_init>normal_hard.pickle"


def save_lamp(
    folder: Path, scores: object, relation: str = "IsA", *, model_type: str = "bert"
) -> Path:
    """Save scores of the last two layers of four."""
    path = folder / lamp_name(model_type, relation, 12, 2, 3)
    torch.save(scores, path)
    return path
