"""Loads a masked LM from the Hugging Face hub, a local folder, or the bases shipped here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from plm.architectures import ROLES, Architecture, Role, architecture_of
from plm.base import BaseModel, Head
from plm.digest import weights_digest
from plm.errors import BaseModelError
from plm.layers import Activation, LayerWeights, Norm
from plm.linear import Linear
from plm.objects import word_token_kind
from plm.precision import fast_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

BASES = Path(__file__).parent / "bases"


def embedded_bases() -> tuple[str, ...]:
    """Names of the bases shipped with the package, sorted; loading them needs no network."""
    if not BASES.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in BASES.glob("*/config.json")))


def load_base(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: torch.dtype | None = torch.float32,
    random_seed: int | None = None,
) -> BaseModel:
    """Load a masked LM and its tokenizer, frozen and in eval mode.

    Args:
        source: name of an embedded base, a local folder, or a hub id. A `Path`, or a string that
            starts with `.`, `~` or `/`, is a folder and nothing else.
        device: `auto` (the first CUDA device if there is one), or a torch device.
        dtype: of the weights in memory; None takes what the device is fast at. They are read in
            fp32 first, so that the digest is the same whatever they are served in.
        random_seed: where given, the weights are not those of the source but drawn from this seed
            as the architecture draws them before it learns; the name says so. A control: what do
            masks learn where there is no knowledge?

    Raises:
        BaseModelError: nothing at that source, no masked LM, an unsupported architecture, or a
            tokenizer that cannot serve; one sentence says which.
    """
    name, place = _locate(source)
    target = _device(device)
    config = _read_config(name, place)
    architecture = architecture_of(str(config.model_type))
    _check_config(name, config)
    if random_seed is None:
        model = _read_model(name, place, config)
    else:
        model = _random_model(config, random_seed)
    tokenizer = _read_tokenizer(name, place, int(config.vocab_size))
    digest = weights_digest(model)
    dtype = dtype or fast_dtype(target)
    model.to(device=target, dtype=dtype)
    layers = _layers(model, architecture)
    padding_index = _padding_index(model, architecture)
    positions = int(config.max_position_embeddings)
    if padding_index is not None:
        positions -= padding_index + 1
    return BaseModel(
        name=name if random_seed is None else f"{name}-random-{random_seed}",
        digest=digest,
        architecture=architecture,
        model=model,
        tokenizer=tokenizer,
        layers=tuple(layers),
        head=_head(model, architecture),
        activation=_activation(model, f"{architecture.layers}.0.{architecture.activation}"),
        hidden_size=int(config.hidden_size),
        heads=int(config.num_attention_heads),
        vocab_size=int(config.vocab_size),
        max_length=min(positions, int(tokenizer.model_max_length)),
        mask_token=str(tokenizer.mask_token),
        mask_token_id=int(tokenizer.mask_token_id),
        pad_token_id=int(tokenizer.pad_token_id),
        padding_index=padding_index,
        device=target,
        dtype=dtype,
    )


def _locate(source: str | Path) -> tuple[str, str]:
    """The base's name, and what `from_pretrained` is to be given."""
    if isinstance(source, str):
        if not source.strip():
            raise BaseModelError(
                "the base model has no name; give a hub id, a folder or an "
                f"embedded base ({_embedded()})"
            )
        if source in embedded_bases():
            return source, str(BASES / source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder.resolve().name, str(folder)
    if isinstance(source, Path) or source[0] in "./~" or "\\" in source or folder.exists():
        raise BaseModelError(f"there is no folder {str(source)!r} to load a base model from")
    if source.count("/") > 1:
        raise BaseModelError(f"{source!r:.160} is no folder, and a hub id has the form owner/name")
    return source, source


def _embedded() -> str:
    return ", ".join(embedded_bases()) or "none is installed"


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, ValueError) as error:
        # torch's own messages run over many lines.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BaseModelError(f"device {device!r:.40} cannot be used: {reason}") from error
    return target


def _read_config(name: str, place: str) -> "PreTrainedConfig":
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
                f"config.json of {name!r} cannot be read: {_first_line(error)}"
            ) from error
        raise BaseModelError(
            f"{name!r:.160} is neither an embedded base ({_embedded()}) nor a folder, and could "
            f"not be had from the hub: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _check_config(name: str, config: "PreTrainedConfig") -> None:
    if getattr(config, "is_decoder", False):
        raise BaseModelError(f"{name!r} is a decoder; a base model reads both ways")
    kind = getattr(config, "position_embedding_type", None) or "absolute"
    if kind != "absolute":
        # transformers 5 dropped the other kinds and would run them as if they were absolute.
        raise BaseModelError(f"{name!r} has {kind} positions; only absolute ones are supported")


def _read_model(name: str, place: str, config: "PreTrainedConfig") -> nn.Module:
    from transformers import AutoModelForMaskedLM  # noqa: PLC0415 - see _read_config

    try:
        model, info = AutoModelForMaskedLM.from_pretrained(
            place, config=config, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        # Many libraries read weights here (safetensors, torch, the hub's client), each with
        # errors of its own; to the caller they mean the same, and the cause stays attached.
        raise BaseModelError(
            f"weights of {name!r} cannot be loaded: {_first_line(error)}"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise BaseModelError(
            f"{name!r} is no masked LM: its weights lack {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + "; take the checkpoint that was saved with its masked-LM head"
        )
    network: nn.Module = model
    for parameter_name, parameter in network.named_parameters():
        # Not a number would spread to every answer, and rank nothing.
        if not bool(torch.isfinite(parameter).all()):
            raise BaseModelError(
                f"{name!r} has weights that are no finite numbers: {parameter_name}"
            )
    return network.eval().requires_grad_(False)


def _random_model(config: "PreTrainedConfig", seed: int) -> nn.Module:
    from transformers import AutoModelForMaskedLM  # noqa: PLC0415 - see _read_config

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = AutoModelForMaskedLM.from_config(config, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def _read_tokenizer(name: str, place: str, vocab_size: int) -> "PreTrainedTokenizerFast":
    from transformers import AutoTokenizer  # noqa: PLC0415 - see _read_config

    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:
        # As in _read_model: tokenizers raise bare Exception for a broken file.
        raise BaseModelError(
            f"the tokenizer of {name!r} cannot be loaded: {_first_line(error)}"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BaseModelError(f"{name!r} has no fast tokenizer; save one as tokenizer.json")
    if tokenizer.mask_token is None:
        raise BaseModelError(f"the tokenizer of {name!r} has no mask token")
    if tokenizer.pad_token is None:
        raise BaseModelError(f"the tokenizer of {name!r} has no padding token")
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        # What transformers makes of a folder without tokenizer files.
        raise BaseModelError(f"{name!r} has no vocabulary; its folder lacks tokenizer.json")
    if len(tokenizer) > vocab_size:
        raise BaseModelError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens, but its model only "
            f"{vocab_size}; they do not belong together"
        )
    word_token_kind(name, tokenizer)
    # Prompts are never cut, and are encoded through the backend directly: the wrapper's own call
    # switches truncation and padding on a shared object, which is not safe across threads.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _layers(model: nn.Module, architecture: Architecture) -> list[LayerWeights]:
    modules = model.get_submodule(architecture.layers)
    if not isinstance(modules, nn.ModuleList):
        raise TypeError(f"{architecture.layers} is no list of layers")
    return [_layer(module, architecture) for module in modules]


def _layer(layer: nn.Module, architecture: Architecture) -> LayerWeights:
    linears: dict[Role, Linear] = {role: _linear(layer, architecture.roles[role]) for role in ROLES}
    return LayerWeights(
        **linears,
        attention_norm=_norm(layer, architecture.attention_norm),
        feed_forward_norm=_norm(layer, architecture.feed_forward_norm),
    )


def _head(model: nn.Module, architecture: Architecture) -> Head:
    path = architecture.head_activation
    return Head(
        dense=_linear(model, architecture.head_dense),
        activation=functional.gelu if path is None else _activation(model, path),
        norm=_norm(model, architecture.head_norm),
        decoder=_linear(model, architecture.decoder),
    )


def _linear(module: nn.Module, path: str) -> Linear:
    part = module.get_submodule(path)
    if not isinstance(part, nn.Linear):
        raise TypeError(f"{path} is {type(part).__name__}, not a linear")
    return Linear(part.weight.detach(), None if part.bias is None else part.bias.detach())


def _norm(module: nn.Module, path: str) -> Norm:
    part = module.get_submodule(path)
    if not isinstance(part, nn.LayerNorm):
        raise TypeError(f"{path} is {type(part).__name__}, not a LayerNorm")
    return Norm(part.weight.detach(), part.bias.detach(), part.eps)


def _activation(module: nn.Module, path: str) -> Activation:
    activation: Activation = module.get_submodule(path)
    return activation


def _padding_index(model: nn.Module, architecture: Architecture) -> int | None:
    if not architecture.padding_positions:
        return None
    embeddings: Any = model.get_submodule(architecture.embeddings)
    return int(embeddings.padding_idx)
