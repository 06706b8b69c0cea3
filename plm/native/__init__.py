"""Native kernels: built with the package where a C++ compiler is, optional.

Their twins in PyTorch, in `plm.linear`, `plm.layers` and `plm.readout`, take over wherever they are
missing.
"""

from plm.native.blocked import UNKNOWN, BlockedKernel, BlockedWeight
from plm.native.choice import tiles_pay
from plm.native.layer import LayerKernel
from plm.native.loading import blocked_kernel, kernel, layer_kernel, readout_kernel
from plm.native.mask_sets import PackedBits, SetAddresses, address_of
from plm.native.masked_linear import MaskedLinearKernel
from plm.native.readout import ReadoutKernel

__all__ = [
    "UNKNOWN",
    "BlockedKernel",
    "BlockedWeight",
    "LayerKernel",
    "MaskedLinearKernel",
    "PackedBits",
    "ReadoutKernel",
    "SetAddresses",
    "address_of",
    "blocked_kernel",
    "kernel",
    "layer_kernel",
    "readout_kernel",
    "tiles_pay",
]
