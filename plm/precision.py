"""Types that products are computed in, and which one a device is fast at."""

from functools import cache

import torch

from plm.errors import BaseModelError

# Names of the types that a base may be served in.
_NAMED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def dtype_named(name: str) -> torch.dtype | None:
    """The type of that name, for `load_base`; None for `auto`.

    Raises:
        BaseModelError: there is none of that name; the message lists those that there are.
    """
    if name != "auto" and name not in _NAMED:
        raise BaseModelError(f"dtype {name!r:.40} is none of auto, {', '.join(_NAMED)}")
    return _NAMED.get(name)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, float32 elsewhere.

    That is so on CUDA from compute capability 8.0 (tensor cores) and on CPUs with AMX. AVX-512 is
    faster at it too, but by less than twice: there whoever gives up digits says so.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float32
    if device.type == "cpu" and has_amx():
        return torch.bfloat16
    return torch.float32


@cache
def has_amx() -> bool:
    """Whether this CPU, and the torch at hand, have AMX tiles."""
    # Torch has no public question for it yet; a torch without this one does not use AMX.
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(supported and supported())
