"""The native part of the optimiser SOAP: a step of a stack of small matrices, and orthonormal bases of such stacks."""

from __future__ import annotations

from collections.abc import Mapping
from ctypes import c_double, c_int, c_int64, c_void_p

import torch
from torch import Tensor

from equipot.kernels.native.operator import address, entry_point

#: Longest side for which the kernels, made for matrices that fit in the cache, are the faster ones.
MAX_SIDE = 128
_STEP = (c_int64, c_int64, c_int64, c_double, c_double, c_double, *(c_void_p,) * 8, c_int)
_TURN = (*(c_int64,) * 3, *(c_void_p,) * 3, c_int, c_void_p, c_int)
_ORTHONORMAL = (c_int64, c_int64, c_void_p, c_void_p, c_int)


def soap_step(
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    matrices: Mapping[int, Tensor],
    bases: Mapping[int, Tensor],
    *,
    beta1: float,
    beta2: float,
    eps: float,
) -> Tensor:
    """Take gradients into the moments and matrices of a stack.

    Args:
        gradient: (B, n) or (B, m, n), sides of at most ``MAX_SIDE``; contiguous, as all arguments.
        first, second: Adam's moments in the eigenbasis, of the same shape; changed in place.
        matrices, bases: axis -> (B, side, side) for the axes that have a basis; the matrices are changed in place.
        beta1, beta2, eps: decay of the moments (the second also that of the matrices), and what is added to the root.

    Returns:
        Adam's step without bias correction and learning rate, turned back from the eigenbasis.
    """
    count, rows, columns, left, right = _sides(gradient)
    direction = torch.empty_like(gradient)
    tensors = (
        gradient,
        first,
        second,
        matrices.get(left),
        matrices.get(right),
        bases.get(left),
        bases.get(right),
        direction,
    )
    entry_point("soap_step", gradient.dtype, _STEP)(
        count, rows, columns, beta1, beta2, eps, *map(address, tensors), torch.get_num_threads()
    )
    return direction


def turn(stack: Tensor, bases: Mapping[int, Tensor], *, back: bool = False) -> Tensor:
    """Multiply every axis that has a basis with it: into the bases, or back out of them.

    Args:
        stack: (B, n) or (B, m, n), sides of at most ``MAX_SIDE``; contiguous, as all arguments.
        bases: axis -> (B, side, side), one or more; any matrices will do.
        back: contract the axis with the second axis of each basis instead of the first.
    """
    count, rows, columns, left, right = _sides(stack)
    turned = torch.empty_like(stack)
    entry_point("soap_turn", stack.dtype, _TURN)(
        count,
        rows,
        columns,
        address(stack),
        address(bases.get(left)),
        address(bases.get(right)),
        back,
        address(turned),
        torch.get_num_threads(),
    )
    return turned


def _sides(stack: Tensor) -> tuple[int, int, int, int | None, int]:
    """Count, rows and columns of a stack, and which axes these are."""
    if stack.ndim == 3:
        return *stack.shape, 0, 1
    return stack.shape[0], 1, stack.shape[1], None, 0


def orthonormal(matrices: Tensor) -> Tensor:
    """Q of the decomposition Q R of each of (B, n, n) matrices, up to the signs of its columns."""
    matrices = matrices.contiguous()
    bases = torch.empty_like(matrices)
    entry_point("orthonormal", matrices.dtype, _ORTHONORMAL)(
        len(matrices), matrices.shape[1], address(matrices), address(bases), torch.get_num_threads()
    )
    return bases
