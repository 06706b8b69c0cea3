"""Loads a masked LM from the Hugging Face hub, a local folder, or the bases shipped here."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from plm import hugging_face
from plm.affine import BLOCKED, narrowed
from plm.architectures import maskable_names
from plm.base import BaseModel
from plm.checkpoint import stored_config, stored_parameters
from plm.config import ModelConfig
from plm.digest import weights_digest
from plm.errors import BaseModelError
from plm.native import blocked_kernel, tiles_pay
from plm.network import activation_of, embeddings_of, head_of, held_weights, layers_of
from plm.objects import word_token_kind
from plm.parameters import Parameters
from plm.precision import fast_dtype, has_amx
from plm.tokenizer import Tokenizer, stored_tokenizer

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
    """Load a masked LM and its tokenizer, frozen.

    Args:
        source: name of an embedded base, a local folder, or a hub id. A `Path`, or a string that
            starts with `.`, `~` or `/`, is a folder and nothing else.
        device: `auto` (the first CUDA device if there is one), or a torch device.
        dtype: what products with matrices are computed in: float32, bfloat16, float16, or int8 on
            processors with AVX-512 VNNI; None takes what the device is fast at. Weights are
            held in it; for float32 on a CPU matrices in half of it where that loses nothing, and
            for bfloat16 where AVX-512 multiplies it, and int8, matrices in that type besides. They
            are read in fp32 first, so that the digest is the same whatever they are served in.
        random_seed: where given, the weights are not those of the source but drawn from this seed
            as the architecture draws them before it learns; the name says so. A control: what do
            masks learn where there is no knowledge?

    Raises:
        BaseModelError: nothing at that source, no masked LM, an unsupported architecture, or a
            tokenizer that cannot serve, or a type that the device has no products in; one
            sentence says which.
    """
    name, place = _locate(source)
    target = _device(device)
    config = stored_config(Path(place)) or hugging_face.read_config(name, place, _embedded())
    activation = activation_of(config.activation)
    if random_seed is None:
        parameters = _parameters(name, place, config)
    else:
        parameters = hugging_face.random_parameters(place, random_seed)
    tokenizer = _tokenizer(name, place, config)
    digest = weights_digest(parameters)
    products = dtype or fast_dtype(target)
    dtype = torch.float32 if _by_blocks(parameters, config, target, products) else products
    if not dtype.is_floating_point:
        raise BaseModelError(
            f"{name!r} cannot be served in int8 on {target}: that takes a processor with AVX-512 "
            "VNNI, the native kernels, and matrices of a multiple of 64 columns; use float32 or "
            "bfloat16"
        )
    parameters = _moved(parameters, target, dtype)
    layers = layers_of(parameters, config, products)
    head = head_of(parameters, config, products)
    padding = config.padding_index
    positions = config.positions if padding is None else config.positions - padding - 1
    mask_token, mask_token_id = _special(name, tokenizer, tokenizer.mask_token, "mask")
    _, pad_token_id = _special(name, tokenizer, tokenizer.pad_token, "padding")
    return BaseModel(
        name=name if random_seed is None else f"{name}-random-{random_seed}",
        source=place,
        digest=digest,
        architecture=config.architecture,
        parameters=Parameters(held_weights(parameters, config, layers, head), dtype),
        tokenizer=tokenizer,
        embeddings=embeddings_of(parameters, config),
        layers=layers,
        head=head,
        activation=activation,
        hidden_size=config.hidden_size,
        heads=config.heads,
        vocab_size=config.vocab_size,
        max_length=min(positions, tokenizer.max_length),
        mask_token=mask_token,
        mask_token_id=mask_token_id,
        pad_token_id=pad_token_id,
        device=target,
        dtype=dtype,
        products=products,
    )


def _locate(source: str | Path) -> tuple[str, str]:
    """The base's name, and the folder or hub id that it is read from."""
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


def _parameters(name: str, place: str, config: ModelConfig) -> dict[str, Tensor]:
    parameters = stored_parameters(Path(place), config)
    if parameters is None:
        parameters = hugging_face.read_parameters(name, place)
    for parameter_name, parameter in parameters.items():
        # Not a number would spread to every answer, and rank nothing.
        if not bool(torch.isfinite(parameter).all()):
            raise BaseModelError(
                f"{name!r} has weights that are no finite numbers: {parameter_name}"
            )
    return parameters


def _by_blocks(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    device: torch.device,
    products: torch.dtype,
) -> bool:
    """Whether the kernel of blocks computes the products, of float32 states."""
    if device.type != "cpu" or products not in BLOCKED or (blocks := blocked_kernel()) is None:
        return False
    names = maskable_names(config.architecture, 1, config.layer_count)
    if not all(blocks.takes(parameters[name], products) for name in names):
        return False
    if products != torch.bfloat16 or not has_amx():
        return True
    # Where PyTorch has tiles for its products, vectors are no match for them.
    return blocks.by_tiles(products) and tiles_pay(blocks)


def _moved(
    parameters: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The parameters elsewhere; what was one tensor under two names stays one.

    On a CPU matrices in float32 are held in half of it where that loses nothing.
    """
    narrow = device.type == "cpu" and dtype == torch.float32
    moved: dict[int, Tensor] = {}
    for parameter in parameters.values():
        if id(parameter) not in moved:
            matrix = narrow and parameter.ndim == 2
            moved[id(parameter)] = narrowed(parameter) if matrix else parameter.to(device, dtype)
    return {name: moved[id(parameter)] for name, parameter in parameters.items()}


def _tokenizer(name: str, place: str, config: ModelConfig) -> Tokenizer:
    tokenizer = stored_tokenizer(Path(place), of_any_class=Path(place).parent == BASES)
    if tokenizer is None:
        tokenizer = hugging_face.read_tokenizer(name, place)
    if len(tokenizer) <= len(tokenizer.special_ids):
        # What transformers makes of a folder without tokenizer files.
        raise BaseModelError(f"{name!r} has no vocabulary; its folder lacks tokenizer.json")
    if len(tokenizer) > config.vocab_size:
        raise BaseModelError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens, but its model only "
            f"{config.vocab_size}; they do not belong together"
        )
    word_token_kind(name, tokenizer)
    return tokenizer


def _special(name: str, tokenizer: Tokenizer, token: str | None, kind: str) -> tuple[str, int]:
    """A special token's text and id."""
    token_id = tokenizer.id_of(token)
    if token is None or token_id is None:
        raise BaseModelError(f"the tokenizer of {name!r} has no {kind} token")
    return token, token_id
