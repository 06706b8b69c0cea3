"""Cross-entropy of a large vocabulary without keeping its logits.

Forward and backward of the decoder and of log-softmax in one pass over chunks of rows: the
gradient takes the logits' place, so a chunk's buffer is all the memory needed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK = 512


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        count = rows.shape[0]
        loss = rows.new_zeros(())
        right = targets.new_zeros(())
        row_gradient = torch.empty_like(rows)
        weight_gradient = torch.zeros_like(weight) if weight.requires_grad else None
        bias_gradient = torch.zeros_like(bias)
        for start in range(0, count, _CHUNK):
            chunk = rows[start : start + _CHUNK]
            target = targets[start : start + _CHUNK, None]
            logits = torch.addmm(bias, chunk, weight.t())
            right += (logits.argmax(1, keepdim=True) == target).sum()
            at_target = logits.gather(1, target)
            normaliser = logits.logsumexp(1, keepdim=True)
            loss += (normaliser - at_target).sum()
            gradient = logits.sub_(normaliser).exp_()
            gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
            gradient /= count
            torch.mm(gradient, weight, out=row_gradient[start : start + _CHUNK])
            if weight_gradient is not None:
                weight_gradient.addmm_(gradient.t(), chunk)
            bias_gradient += gradient.sum(0)
        ctx.gradients = (row_gradient, weight_gradient, bias_gradient)
        ctx.mark_non_differentiable(right)
        return loss / count, right

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = outputs[0]
        rows, weight, bias = ctx.gradients
        return rows * scale, None if weight is None else weight * scale, bias * scale, None


def linear_cross_entropy(
    rows: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """(mean loss in nats, number of rows whose top token is the target).

    rows (N, H), weight (V, H), bias (V,), targets (N,) int64. Gradients flow to rows, weight (if it
    asks for one) and bias.
    """
    loss, right = _LinearCrossEntropy.apply(rows, weight, bias, targets)  # type: ignore[no-untyped-call]
    return loss, right
