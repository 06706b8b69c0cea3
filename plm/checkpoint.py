"""A folder's config and weights read as they lie, where nothing in them needs interpretation.

Importing transformers and its models takes longer than all else that a server does before its first
answer. What transformers writes today can be read without it; what other files mean (older names,
several files, defaults of a class) it alone knows, and `plm.hugging_face` asks it.
"""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from plm.config import ModelConfig
from plm.errors import BaseModelError

# Where one of them is there and not as a class has it, the class must be asked.
_PLAIN = {"is_decoder": False, "position_embedding_type": "absolute"}


def stored_config(folder: Path) -> ModelConfig | None:
    """The config of a folder whose `config.json` says all that is needed, or None."""
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        plain = all(values.get(key, value) == value for key, value in _PLAIN.items())
        return ModelConfig.of(values) if plain else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError, BaseModelError):
        return None


def stored_parameters(folder: Path, config: ModelConfig) -> dict[str, Tensor] | None:
    """All parameters in fp32 by every name that they have, or None if the file is not that plain.

    Tensors that the model has no use for are passed over, as transformers does.
    """
    if not config.tied:
        return None
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError):
        return None
    tied = config.architecture.tied
    for second, first in tied.items():
        if first not in tensors and second in tensors:
            tensors[first] = tensors[second]
    shapes = config.parameter_shapes()
    if any(name not in tensors or tensors[name].shape != shapes[name] for name in shapes):
        return None
    parameters = {name: tensors[name].float() for name in shapes}
    return parameters | {second: parameters[first] for second, first in tied.items()}
