"""Native kernels: built with the package where a C++ compiler is, optional.

Their twins in PyTorch, in `plm.linear` and `plm.layers`, take over wherever they are missing.
"""

from plm.native.layer import LayerKernel
from plm.native.loading import kernel, layer_kernel
from plm.native.masked_linear import MaskedLinearKernel

__all__ = ["LayerKernel", "MaskedLinearKernel", "kernel", "layer_kernel"]
