"""Models and tokenizers that transformers reads: hub ids, older files, weights not yet learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from plm.config import ModelConfig
from plm.errors import BaseModelError
from plm.tokenizer import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def read_config(name: str, place: str, embedded: str) -> ModelConfig:
    """The config of a folder or hub id; `embedded` names the bases shipped here, for a message.

    Raises:
        BaseModelError: nothing there, or no model that can be a base.
    """
    config = _config(name, place, embedded)
    if getattr(config, "is_decoder", False):
        raise BaseModelError(f"{name!r} is a decoder; a base model reads both ways")
    kind = getattr(config, "position_embedding_type", None) or "absolute"
    if kind != "absolute":
        # transformers 5 dropped the other kinds and would run them as if they were absolute.
        raise BaseModelError(f"{name!r} has {kind} positions; only absolute ones are supported")
    return ModelConfig.of(config.to_dict())


def _config(name: str, place: str, embedded: str) -> "PreTrainedConfig":
    from transformers import AutoConfig  # noqa: PLC0415 - importing transformers takes seconds

    try:
        return AutoConfig.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        if Path(place).is_dir():
            if not (Path(place) / "config.json").is_file():
                raise BaseModelError(
                    f"folder {place!r} is no base model: it has no config.json"
                ) from error
            raise BaseModelError(
                f"config.json of {name!r} cannot be read: {first_line(error)}"
            ) from error
        raise BaseModelError(
            f"{name!r:.160} is neither an embedded base ({embedded}) nor a folder, and could "
            f"not be had from the hub: {first_line(error)}"
        ) from error


def read_parameters(name: str, place: str) -> dict[str, Tensor]:
    """All parameters in fp32 by every name that they have.

    Raises:
        BaseModelError: they cannot be read, or there is no masked-LM head among them.
    """
    from transformers import AutoModelForMaskedLM  # noqa: PLC0415 - see _config

    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        # Many libraries read weights here (safetensors, torch, the hub's client), each with
        # errors of its own; to the caller they mean the same, and the cause stays attached.
        raise BaseModelError(
            f"weights of {name!r} cannot be loaded: {first_line(error)}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise BaseModelError(
            f"{name!r} is no masked LM: its weights lack {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; take the checkpoint that was saved with its masked-LM head"
        )
    return _parameters_of(model)


def random_parameters(place: str, seed: int) -> dict[str, Tensor]:
    """All parameters as the architecture draws them before it learns, from this seed."""
    from transformers import AutoConfig, AutoModelForMaskedLM  # noqa: PLC0415 - see _config

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.from_pretrained(place)
        return _parameters_of(AutoModelForMaskedLM.from_config(config, dtype=torch.float32))


def _parameters_of(model: nn.Module) -> dict[str, Tensor]:
    # Tensors keep their identity: those of one parameter under two names stay one.
    plain: dict[int, Tensor] = {}
    return {
        name: plain.setdefault(id(parameter), parameter.detach())
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def read_tokenizer(name: str, place: str) -> Tokenizer:
    """The tokenizer of a folder or hub id.

    Raises:
        BaseModelError: there is none, or it is not a fast one.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - see _config

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(place)
    except Exception as error:
        # As in read_parameters: tokenizers raise bare Exception for a broken file.
        raise BaseModelError(
            f"the tokenizer of {name!r} cannot be loaded: {first_line(error)}"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BaseModelError(f"{name!r} has no fast tokenizer; save one as tokenizer.json")
    return Tokenizer.of_fast(tokenizer)


def first_line(error: Exception) -> str:
    """An error's message, cut to what a sentence can hold."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
