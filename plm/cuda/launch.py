"""What the Triton kernels can be launched on."""

import torch
from torch import Tensor

TYPES = (torch.float32, torch.bfloat16, torch.float16)


def launches(states: Tensor) -> bool:
    """Whether a kernel takes these: floating-point, on the current GPU, where Triton launches."""
    return (
        states.is_cuda
        and states.get_device() == torch.cuda.current_device()
        and states.dtype in TYPES
    )
