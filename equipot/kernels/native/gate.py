"""The gate nonlinearity as torch operators in C++: values, gradients and double gradients, each in one pass."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.native.operator import address, entry_point, operator
from equipot.kernels.node_plans import GatePlan


class _Table:
    """A plan's rows as C++ reads them."""

    def __init__(self, plan: GatePlan) -> None:
        self.in_dim, self.out_dim = plan.layout_in.dim, plan.layout_out.dim
        values = [value for row in plan.rows for value in row]
        self.kept = (ctypes.c_int64 * max(1, len(values)))(*values)
        self.head = (len(plan.rows), ctypes.addressof(self.kept), self.in_dim, self.out_dim)


@cache
def _table(key: str) -> _Table:
    return _Table(GatePlan.from_key(key))


def _call(name: str, table: _Table, x: Tensor, *tensors: Tensor | None) -> None:
    """Call an entry point for the rows of ``x``; ``tensors`` are all it takes, in its order."""
    types = (ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * len(tensors), ctypes.c_int)
    entry_point(name, x.dtype, types)(*table.head, len(x), *map(address, tensors), torch.get_num_threads())


def _check(table: _Table, x: Tensor, g: Tensor | None = None, hx: Tensor | None = None) -> None:
    """The shapes C++ relies on."""
    if (
        x.dim() != 2
        or x.shape[1] != table.in_dim
        or (g is not None and (g.shape != (x.shape[0], table.out_dim) or g.dtype != x.dtype))
        or (hx is not None and (hx.shape != x.shape or hx.dtype != x.dtype))
    ):
        found = ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in (x, g, hx) if t is not None)
        raise UsageError(
            f"This gate takes features (N, {table.in_dim}) and gradients (N, {table.out_dim}) of one "
            f"type, found {found}."
        )


def _gate(x: Tensor, key: str) -> Tensor:
    table = _table(key)
    _check(table, x)
    x = x.contiguous()
    out = x.new_empty(x.shape[0], table.out_dim)
    _call("gate", table, x, x, out)
    return out


def _shape_gate(x: Tensor, key: str) -> Tensor:
    return x.new_empty(x.shape[0], _table(key).out_dim)


def _gate_backward(g: Tensor, x: Tensor, key: str) -> Tensor:
    table = _table(key)
    _check(table, x, g)
    g, x = g.contiguous(), x.contiguous()
    gx = torch.empty_like(x)
    _call("gate_backward", table, x, g, x, gx)
    return gx


def _shape_gate_backward(g: Tensor, x: Tensor, key: str) -> Tensor:
    return x.new_empty(x.shape)


def _gate_double_backward(g: Tensor, x: Tensor, hx: Tensor, key: str) -> tuple[Tensor, Tensor]:
    table = _table(key)
    _check(table, x, g, hx)
    g, x, hx = g.contiguous(), x.contiguous(), hx.contiguous()
    gg, gx = torch.empty_like(g), torch.empty_like(x)
    _call("gate_double_backward", table, x, g, x, hx, None, gg, gx)
    return gg, gx


def gate_tangent(x: Tensor, hx: Tensor, key: str) -> Tensor:
    """How the gate's result moves along ``hx``; contiguous tensors."""
    table = _table(key)
    _check(table, x, None, hx)
    out = x.new_empty(x.shape[0], table.out_dim)
    _call("gate_double_backward", table, x, None, x, hx, None, out, None)
    return out


def gate_adjoint(g: Tensor, x: Tensor, hx: Tensor, b: Tensor, key: str) -> Tensor:
    """Gradient in x of sum(b * gate(x)) + sum(g * gate_tangent(x, hx)); contiguous tensors."""
    table = _table(key)
    _check(table, x, g, hx)
    _check(table, x, b)
    gx = torch.empty_like(x)
    _call("gate_double_backward", table, x, g, x, hx, b, None, gx)
    return gx


def _shape_gate_double_backward(g: Tensor, x: Tensor, hx: Tensor, key: str) -> tuple[Tensor, Tensor]:
    return g.new_empty(g.shape), x.new_empty(x.shape)


def _setup_gate(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, ctx.key = inputs
    ctx.save_for_backward(x)


def _backward_of_gate(ctx: Any, g: Tensor | None) -> tuple:
    return (None if g is None else gate_backward_operator(g, *ctx.saved_tensors, ctx.key)), None


def _setup_gate_backward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    g, x, ctx.key = inputs
    ctx.save_for_backward(g, x)


def _backward_of_gate_backward(ctx: Any, hx: Tensor | None) -> tuple:
    if hx is None:
        return (None,) * 3
    gg, gx = gate_double_backward_operator(*ctx.saved_tensors, hx, ctx.key)
    needs_g, needs_x, _ = ctx.needs_input_grad
    return gg if needs_g else None, gx if needs_x else None, None


gate_double_backward_operator = operator(
    "gate_double_backward(Tensor g, Tensor x, Tensor hx, str plan) -> (Tensor, Tensor)",
    compute=_gate_double_backward, fake=_shape_gate_double_backward,
)  # fmt: skip
gate_backward_operator = operator(
    "gate_backward(Tensor g, Tensor x, str plan) -> Tensor",
    compute=_gate_backward, fake=_shape_gate_backward, setup_context=_setup_gate_backward,
    backward=_backward_of_gate_backward,
)  # fmt: skip
#: (x, plan's key) -> gated features.
gate_operator = operator(
    "gate(Tensor x, str plan) -> Tensor",
    compute=_gate, fake=_shape_gate, setup_context=_setup_gate, backward=_backward_of_gate,
)  # fmt: skip
