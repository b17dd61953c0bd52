"""Several weight tensors as rows of one, the form kernels take them in: one node of autograd's graph, not a dozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from equipot.kernels.native.operator import is_eager


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, num_rows: int, *tensors: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.shapes = [tensor.shape for tensor in tensors]
        return _joined(num_rows, tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple:
        if gradient is None:
            return None, *(None for _ in ctx.shapes)
        parts = gradient.split([shape.numel() // len(gradient) for shape in ctx.shapes], dim=1)
        return None, *(part.view(shape) for part, shape in zip(parts, ctx.shapes))


def join(num_rows: int, tensors: Sequence[Tensor]) -> Tensor:
    """Put tensors of ``num_rows * n_k`` numbers each side by side, (num_rows, sum of n_k).

    Differentiable any number of times.
    """
    if len(tensors) > 1 and torch.is_grad_enabled() and is_eager(tensors[0]):
        return _Join.apply(num_rows, *tensors)
    return _joined(num_rows, tensors)


def _joined(num_rows: int, tensors: Sequence[Tensor]) -> Tensor:
    if len(tensors) == 1:
        return tensors[0].reshape(num_rows, -1)
    return torch.cat([tensor.reshape(num_rows, -1) for tensor in tensors], dim=1)
