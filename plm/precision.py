"""Which type of weights a device is fast at."""

from functools import cache

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, float32 elsewhere.

    That is so on CUDA from compute capability 8.0 (tensor cores) and on CPUs with AMX. AVX-512
    alone computes bfloat16 no faster than float32 is read.
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
