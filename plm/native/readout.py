"""What is read off logits, natively; `plm.readout` has its twin in PyTorch."""

import ctypes

import torch
from torch import Tensor

from plm.native.variant import Variant

# A longer list is kept in order more cheaply by PyTorch.
_MOST = 128


class ReadoutKernel:
    """Log-sum-exp and the largest of each row; float32 on a CPU."""

    def __init__(self, variant: Variant) -> None:
        pointer, count = ctypes.c_void_p, ctypes.c_int64
        self._log_sum_exp = variant.function("log_sum_exp")
        self._log_sum_exp.argtypes = [pointer, pointer, count, count]
        self._log_sum_exp.restype = None
        self._largest = variant.function("largest")
        self._largest.argtypes = [*[pointer] * 4, *[count] * 3]
        self._largest.restype = None

    def takes(self, rows: Tensor, count: int = 1) -> bool:
        """Whether it reads these rows (N, V), and so many of each."""
        return (
            rows.dtype == torch.float32
            and rows.device.type == "cpu"
            and rows.is_contiguous()
            and 0 < count <= min(_MOST, rows.shape[1])
        )

    def log_sum_exp(self, rows: Tensor) -> Tensor:
        """log(sum(exp(x))) of each row of (N, V) -> (N,)."""
        norms = rows.new_empty(rows.shape[0])
        self._log_sum_exp(rows.data_ptr(), norms.data_ptr(), *rows.shape)
        return norms

    def largest(
        self, rows: Tensor, count: int, admitted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The largest of each row of (N, V), in descending order, and where they stand.

        Both (N, count); of equal ones the first come first. Places where bool (V,) `admitted` is
        false count as -inf.

        Raises:
            ValueError: `admitted` is not bool (V,).
        """
        if admitted is not None and not (
            admitted.dtype == torch.bool
            and admitted.shape == rows.shape[1:]
            and admitted.is_contiguous()
        ):
            raise ValueError(f"bool ({rows.shape[1]},) says what is admitted, not {admitted.shape}")
        values = rows.new_empty(rows.shape[0], count)
        ids = torch.empty(rows.shape[0], count, dtype=torch.int64)
        self._largest(
            rows.data_ptr(),
            None if admitted is None else admitted.data_ptr(),
            values.data_ptr(),
            ids.data_ptr(),
            *rows.shape,
            count,
        )
        return values, ids
