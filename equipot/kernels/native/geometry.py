"""The operator ``equipot::edge_geometry`` (harmonics, spline basis and knots of edge vectors) and its derivatives."""

from __future__ import annotations

from ctypes import c_double, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from equipot.kernels.native.operator import address, entry_point, operator
from equipot.kernels.selection import wants_geometry

#: Highest order of the native harmonics.
MAX_L = 4
_SETTINGS = (c_int, c_double, c_int, c_int64)


def _call(name: str, vector: Tensor, l_max: int, cutoff: float, num_intervals: int, *tensors: Tensor | None) -> None:
    pointers = (vector, *tensors)
    function = entry_point(name, vector.dtype, (*_SETTINGS, *(c_void_p for _ in pointers), c_int))
    function(l_max, cutoff, num_intervals, len(vector), *map(address, pointers), torch.get_num_threads())


def _shapes(vector: Tensor, l_max: int, cutoff: float, num_intervals: int) -> tuple[Tensor, Tensor, Tensor]:
    num_edges, has_spline = len(vector), num_intervals > 0
    return (
        vector.new_empty(num_edges, (l_max + 1) ** 2),
        vector.new_empty(num_edges, 4 if has_spline else 0),
        vector.new_empty(num_edges if has_spline else 0, dtype=torch.int32),
    )


def _forward(vector: Tensor, l_max: int, cutoff: float, num_intervals: int) -> tuple[Tensor, Tensor, Tensor]:
    outputs = _shapes(vector, l_max, cutoff, num_intervals)
    _call("edge_geometry", vector.contiguous(), l_max, cutoff, num_intervals, *outputs)
    return outputs


def _backward(
    vector: Tensor, g_harmonics: Tensor | None, g_basis: Tensor | None, l_max: int, cutoff: float, num_intervals: int
) -> Tensor:
    g_vector = torch.empty_like(vector, memory_format=torch.contiguous_format)
    _call(
        "edge_geometry_backward",
        vector.contiguous(),
        l_max,
        cutoff,
        num_intervals,
        _contiguous(g_harmonics),
        _contiguous(g_basis),
        g_vector,
    )
    return g_vector


def _double_backward(
    vector: Tensor,
    g_harmonics: Tensor | None,
    g_basis: Tensor | None,
    h_vector: Tensor,
    l_max: int,
    cutoff: float,
    num_intervals: int,
    wants_vector: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    outputs = _double_shapes(vector, g_harmonics, g_basis, h_vector, l_max, cutoff, num_intervals, wants_vector)
    _call(
        "edge_geometry_double_backward",
        vector.contiguous(),
        l_max,
        cutoff,
        num_intervals,
        _contiguous(g_harmonics),
        _contiguous(g_basis),
        h_vector.contiguous(),
        *outputs,
    )
    return outputs


def _double_shapes(
    vector: Tensor,
    g_harmonics: Tensor | None,
    g_basis: Tensor | None,
    h_vector: Tensor,
    l_max: int,
    cutoff: float,
    num_intervals: int,
    wants_vector: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    num_edges = len(vector)
    return (
        vector.new_empty(num_edges, (l_max + 1) ** 2) if g_harmonics is not None else vector.new_empty(0),
        vector.new_empty(num_edges, 4) if g_basis is not None else vector.new_empty(0),
        vector.new_empty(num_edges, 3) if wants_vector else vector.new_empty(0),
    )


def _contiguous(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _setup_forward(ctx: Any, inputs: tuple, outputs: tuple[Tensor, Tensor, Tensor]) -> None:
    vector, *ctx.settings = inputs
    ctx.save_for_backward(vector)
    ctx.mark_non_differentiable(outputs[2])


def _backward_of_forward(ctx: Any, g_harmonics: Tensor | None, g_basis: Tensor | None, g_knot: None) -> tuple:
    if ctx.settings[2] == 0:
        g_basis = None
    if not wants_geometry() or (g_harmonics is None and g_basis is None):
        return None, None, None, None
    (vector,) = ctx.saved_tensors
    return edge_geometry_backward(vector, g_harmonics, g_basis, *ctx.settings), None, None, None


def _setup_backward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.settings = inputs[3:]


def _backward_of_backward(ctx: Any, h_vector: Tensor | None) -> tuple:
    if h_vector is None:
        return (None,) * 6
    vector, g_harmonics, g_basis = ctx.saved_tensors
    wants_vector = wants_geometry() and ctx.needs_input_grad[0]
    gg_harmonics, gg_basis, g_vector = edge_geometry_double_backward(
        vector, g_harmonics, g_basis, h_vector, *ctx.settings, wants_vector
    )
    return (
        g_vector if wants_vector else None,
        None if g_harmonics is None else gg_harmonics,
        None if g_basis is None else gg_basis,
        None,
        None,
        None,
    )


edge_geometry_double_backward = operator(
    "edge_geometry_double_backward(Tensor vector, Tensor? g_harmonics, Tensor? g_basis, Tensor h_vector, int l_max, "
    "float cutoff, int num_intervals, bool wants_vector) -> (Tensor, Tensor, Tensor)",
    compute=_double_backward,
    fake=_double_shapes,
)
edge_geometry_backward = operator(
    "edge_geometry_backward(Tensor vector, Tensor? g_harmonics, Tensor? g_basis, int l_max, float cutoff, "
    "int num_intervals) -> Tensor",
    compute=_backward,
    fake=lambda vector, *_: torch.empty_like(vector),
    setup_context=_setup_backward,
    backward=_backward_of_backward,
)
#: (vector (E, 3), l_max, cutoff, num_intervals or 0) -> harmonics (E, (l_max+1)^2), basis (E, 4), knot (E,) int32;
#: without a spline the last two are empty.
edge_geometry = operator(
    "edge_geometry(Tensor vector, int l_max, float cutoff, int num_intervals) -> (Tensor, Tensor, Tensor)",
    compute=_forward,
    fake=_shapes,
    setup_context=_setup_forward,
    backward=_backward_of_forward,
)
