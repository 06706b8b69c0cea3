"""Kernels for CUDA, in Triton, optional; their twins are in `plm.linear` and `plm.layers`."""

from plm.cuda.linear import CudaMaskedLinear, LaunchPlan
from plm.cuda.loading import cuda_attention, cuda_kernel
from plm.cuda.varlen import VarlenAttention

__all__ = ["CudaMaskedLinear", "LaunchPlan", "VarlenAttention", "cuda_attention", "cuda_kernel"]
