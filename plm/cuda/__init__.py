"""Kernels for CUDA, in Triton, optional: `plm.linear` has their twin in PyTorch."""

from plm.cuda.kernel import CudaMaskedLinear, cuda_kernel

__all__ = ["CudaMaskedLinear", "cuda_kernel"]
