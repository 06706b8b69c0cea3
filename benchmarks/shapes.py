"""Models of other sizes, with weights that are drawn: speed does not depend on what they know."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from masks import RelationMask, pack_bits
from plm import BaseModel, default_layer_range
from plm.loading import BASES

Shape = Literal["bert-base"]
# Its tokenizer is that of the drawn models too.
_TOKENIZER_OF = "minilm-l6-mlm"
_SIZES: Mapping[Shape, Mapping[str, int]] = {
    "bert-base": {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}


@contextmanager
def source_of(shape: Shape | None, base: str) -> Iterator[str]:
    """What `load_base` reads a model of that shape from; the base itself where there is none.

    A model of a shape is written to a folder, which goes with the context.
    """
    if shape is None:
        yield base
        return
    from transformers import BertConfig, BertForMaskedLM  # noqa: PLC0415 - takes seconds to import

    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            BertForMaskedLM(BertConfig(**_SIZES[shape])).save_pretrained(folder)
        for file in BASES.joinpath(_TOKENIZER_OF).glob("tokenizer*.json"):
            shutil.copy(file, folder)
        yield str(folder)


def drawn_masks(base: BaseModel, like: Sequence[RelationMask]) -> list[RelationMask]:
    """A mask for each of those given, with its name and templates, that keeps half of the weights.

    It covers the layers that masks of this base cover unless told otherwise.
    """
    random = np.random.default_rng(0)
    layers = default_layer_range(base.layer_count)
    shapes = base.shapes(*layers)
    return [
        RelationMask(
            replace(
                mask.metadata,
                base_model=base.name,
                base_digest=base.digest,
                layers=layers,
                shapes=shapes,
            ),
            {name: pack_bits(random.random(shape) < 0.5) for name, shape in shapes.items()},
        )
        for mask in like
    ]
