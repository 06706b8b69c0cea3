"""Native kernels: built with the package where a C++ compiler is, optional.

Their twins in PyTorch, in `plm.linear`, `plm.layers` and `plm.readout`, take over wherever they are
missing.
"""

from plm.native.layer import LayerKernel
from plm.native.loading import kernel, layer_kernel, readout_kernel
from plm.native.masked_linear import MaskedLinearKernel
from plm.native.readout import ReadoutKernel

__all__ = [
    "LayerKernel",
    "MaskedLinearKernel",
    "ReadoutKernel",
    "kernel",
    "layer_kernel",
    "readout_kernel",
]
