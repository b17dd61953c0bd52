"""The native convolution as torch operators: values, gradients and double gradients, no third derivatives.

``equipot::convolution`` takes its weights edge by edge, or as a spline: a table whose rows ``knot .. knot + 3`` are
mixed by the basis of each edge, so that weights of edges are never stored. It is linear in features, harmonics and
weights; its gradient is an operator of its own with its own gradient, so that losses on forces are exact.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.native import library
from equipot.kernels.native.convolution_plan import plan_of, plan_pointer
from equipot.kernels.native.operator import operator
from equipot.kernels.selection import wanted_gradients, wants_geometry, wants_parameters

_EDGES = ("center", "neighbor", "center_ptr", "neighbor_order", "neighbor_ptr")
_POINTERS = ("x", "harmonics", "basis", "knot", "weights")
_COTANGENTS = ("g", "hx", "h_harmonics", "h_basis", "h_weights", "b")
_OUTPUTS = ("out", "gx", "g_harmonics", "g_basis", "g_weights")
_SCHEMA_INPUTS = "Tensor features, Tensor harmonics, Tensor? basis, Tensor? knot, Tensor weights"
_SCHEMA_EDGES = (
    "Tensor center, Tensor neighbor, Tensor center_ptr, Tensor neighbor_order, Tensor neighbor_ptr, str plan"
)


class _Arguments(ctypes.Structure):
    """``Arguments`` of csrc/convolution/convolution_entry.cpp, field by field."""

    _fields_ = [
        ("plan", ctypes.c_void_p), ("num_atoms", ctypes.c_int64), *((name, ctypes.c_void_p) for name in _EDGES),
        *((name, ctypes.c_void_p) for name in _POINTERS), ("num_rows", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (*_COTANGENTS, *_OUTPUTS)), ("threads", ctypes.c_int),
        ("is_spline", ctypes.c_int),
    ]  # fmt: skip


@cache
def _function(name: str, dtype: torch.dtype) -> Any:
    loaded = library.load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    function = getattr(loaded.functions, f"equipot_convolution_{name}_{suffix}")
    function.argtypes, function.restype = [ctypes.POINTER(_Arguments), ctypes.c_int], ctypes.c_int
    return function


def _arguments(inputs: tuple, edges: tuple, key: str, cotangents: tuple, outputs: tuple) -> tuple[_Arguments, list]:
    """The C structure, and the tensors that must outlive the call."""
    kept = [t if t is None or t.is_contiguous() else t.contiguous() for t in (*edges, *inputs, *cotangents, *outputs)]
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in kept]
    weights = kept[len(edges) + 4]
    return _Arguments(
        plan_pointer(key), kept[2].numel() - 1, *addresses[:10], weights.shape[0], *addresses[10:],
        torch.get_num_threads(), inputs[2] is not None,
    ), kept  # fmt: skip


def _run(name: str, dtype: torch.dtype, arguments: _Arguments, tangent: bool) -> None:
    status = _function(name, dtype)(ctypes.byref(arguments), int(tangent))
    if status == 1:
        raise MemoryError("There is no memory left for the working space of a convolution.")
    if status == 2:
        raise IndexError("A knot of the spline lies outside its table.")


def _check(inputs: tuple, edges: tuple, key: str) -> None:
    """Shapes and dtypes, since the C++ code reads what they promise."""
    plan, (features, harmonics, basis, knot, weights) = plan_of(key), inputs
    center, neighbor, center_ptr, neighbor_order, neighbor_ptr = edges
    num_nodes, num_edges, dtype = features.shape[0], center.shape[0], features.dtype
    expected = (
        (features, (num_nodes, plan.input.dim), dtype, "features"),
        (harmonics, (num_edges, (plan.l_max + 1) ** 2), dtype, "harmonics"),
        (weights, (num_edges if basis is None else weights.shape[0], plan.num_weights), dtype, "weights"),
        (basis, (num_edges, 4), dtype, "basis"),
        (knot, (num_edges,), torch.int32, "knot"),
        (center, (num_edges,), torch.int64, "center"),
        (neighbor, (num_edges,), torch.int64, "neighbor"),
        (center_ptr, (num_nodes + 1,), torch.int64, "center_ptr"),
        (neighbor_order, (num_edges,), torch.int64, "neighbor_order"),
        (neighbor_ptr, (num_nodes + 1,), torch.int64, "neighbor_ptr"),
    )
    for tensor, shape, expected_dtype, name in expected:
        if tensor is not None and (tensor.shape != shape or tensor.dtype != expected_dtype):
            raise UsageError(
                f"The convolution expects {name} of shape {shape} and {expected_dtype}, found "
                f"{tuple(tensor.shape)} and {tensor.dtype}."
            )


def _forward(*arguments: Any) -> Tensor:
    inputs, edges, key = arguments[:5], arguments[5:10], arguments[10]
    _check(inputs, edges, key)
    out = _shape_forward(*arguments)
    call, _kept = _arguments(inputs, edges, key, (None,) * 6, (out, None, None, None, None))
    _run("receive", out.dtype, call, False)
    return out


def _shape_forward(*arguments: Any) -> Tensor:
    features = arguments[0]
    return features.new_empty(features.shape[0], plan_of(arguments[10]).output.dim)


def _backward(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, g, edges, key = arguments[:5], arguments[5], arguments[6:11], arguments[11]
    outputs = _shape_backward(*arguments)
    call, _kept = _arguments(inputs, edges, key, (g, *(None,) * 5), (None, *map(_given, outputs)))
    _run("send", g.dtype, call, False)
    return outputs


def _shape_backward(*arguments: Any) -> tuple[Tensor, ...]:
    features, harmonics, basis, _, weights = arguments[:5]
    return tuple(
        features.new_empty(tensor.shape if is_wanted else (0, 0))
        for tensor, is_wanted in zip((features, harmonics, basis, weights), arguments[13:])
    )


def _given(output: Tensor) -> Tensor | None:
    """What is not wanted is a (0, 0) tensor, as operators must return tensors."""
    return None if output.shape == (0, 0) else output


def _double_backward(*arguments: Any) -> tuple[Tensor, ...]:
    inputs, g, tangents = arguments[:5], arguments[5], arguments[6:10]
    edges, key = arguments[10:15], arguments[15]
    outputs = _shape_double_backward(*arguments)
    call, _kept = _arguments(inputs, edges, key, (g, *tangents, None), tuple(map(_given, outputs)))
    if arguments[16]:
        _run("receive", g.dtype, call, True)
    if any(arguments[17:]):
        _run("send", g.dtype, call, True)
    return outputs


def _shape_double_backward(*arguments: Any) -> tuple[Tensor, ...]:
    features, harmonics, basis, _, weights, g = arguments[:6]
    return tuple(
        features.new_empty(tensor.shape if is_wanted else (0, 0))
        for tensor, is_wanted in zip((g, features, harmonics, basis, weights), arguments[16:])
    )


def _setup_forward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:10])
    ctx.key, ctx.constant_features = inputs[10:]


def _wanted(needs: tuple[bool, ...], has_basis: bool, constant_features: bool) -> tuple[bool, bool, bool, bool]:
    """Of features, harmonics, basis and weights: which gradients this backward pass is for."""
    features, harmonics, basis, _, weights = needs[:5]
    return (
        features and not (constant_features and wanted_gradients() == "inputs"),
        harmonics and wants_geometry(),
        basis and wants_geometry(),
        # A table holds parameters alone; weights given edge by edge come from parameters and the edge's length.
        weights and (wants_parameters() or not has_basis),
    )


def _backward_of_forward(ctx: Any, g: Tensor | None) -> tuple:
    nothing = (None,) * 12
    if g is None:
        return nothing
    saved = ctx.saved_tensors
    wanted = _wanted(ctx.needs_input_grad, saved[2] is not None, ctx.constant_features)
    if not any(wanted):
        return nothing
    outputs = convolution_backward_operator(*saved[:5], g, *saved[5:], ctx.key, ctx.constant_features, *wanted)
    features, harmonics, basis, weights = (o if w else None for o, w in zip(outputs, wanted))
    return features, harmonics, basis, None, weights, *nothing[5:]


def _setup_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*inputs[:11])
    ctx.key, ctx.constant_features = inputs[11:13]


def _backward_of_backward(ctx: Any, *tangents: Tensor | None) -> tuple:
    nothing = (None,) * 17
    needs = ctx.needs_input_grad
    saved = ctx.saved_tensors
    wanted = (needs[5], *_wanted(needs, saved[2] is not None, ctx.constant_features))
    if all(tangent is None for tangent in tangents) or not any(wanted):
        return nothing
    outputs = _convolution_double_backward(*saved[:6], *tangents, *saved[6:], ctx.key, *wanted)
    g, features, harmonics, basis, weights = (o if w else None for o, w in zip(outputs, wanted))
    return features, harmonics, basis, None, weights, g, *nothing[6:]


_convolution_double_backward = operator(
    f"convolution_double_backward({_SCHEMA_INPUTS}, Tensor g, Tensor? h_features, Tensor? h_harmonics, "
    f"Tensor? h_basis, Tensor? h_weights, {_SCHEMA_EDGES}, bool wants_g, bool wants_features, bool wants_harmonics, "
    "bool wants_basis, bool wants_weights) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    compute=_double_backward,
    fake=_shape_double_backward,
)
convolution_backward_operator = operator(
    f"convolution_backward({_SCHEMA_INPUTS}, Tensor g, {_SCHEMA_EDGES}, bool constant_features, bool wants_features, "
    "bool wants_harmonics, bool wants_basis, bool wants_weights) -> (Tensor, Tensor, Tensor, Tensor)",
    compute=_backward,
    fake=_shape_backward,
    setup_context=_setup_backward,
    backward=_backward_of_backward,
)
convolution_operator = operator(
    f"convolution({_SCHEMA_INPUTS}, {_SCHEMA_EDGES}, bool constant_features) -> Tensor",
    compute=_forward,
    fake=_shape_forward,
    setup_context=_setup_forward,
    backward=_backward_of_forward,
)


def convolution_tangent(
    inputs: tuple, h_features: Tensor | None, h_harmonics: Tensor, h_basis: Tensor, edges: tuple, key: str
) -> Tensor:
    """How the result moves as features (None: not at all), harmonics and basis do, with spline weights.

    ``inputs`` are features, harmonics, basis, knot and table.
    """
    out = inputs[0].new_empty(len(inputs[0]), plan_of(key).output.dim)
    call, _kept = _arguments(
        inputs, edges, key, (None, h_features, h_harmonics, h_basis, None, None), (out, None, None, None, None)
    )
    _run("receive", out.dtype, call, True)
    return out


def convolution_adjoint(
    inputs: tuple, g: Tensor, tangents: tuple, b: Tensor, edges: tuple, key: str
) -> tuple[Tensor, Tensor]:
    """Gradients in features and table of sum(b * result) + sum(g * convolution_tangent)."""
    features, table = torch.empty_like(inputs[0]), torch.empty_like(inputs[4])
    call, _kept = _arguments(inputs, edges, key, (g, *tangents, None, b), (None, features, None, None, table))
    _run("send", b.dtype, call, True)
    return features, table


def convolution(features: Tensor, harmonics: Tensor, weights: Tensor, edges: EdgeIndex, key: str) -> Tensor:
    """``out_i = sum_j w_ij (x_j (x) Y_ij)`` with weights edge by edge.

    Args:
        features: (N, plan.input.dim), float32 or float64.
        harmonics: (E, (l_max+1)^2).
        weights: (E, plan.num_weights).
        edges: of the batch.
        key: of the plan.

    Returns:
        (N, plan.output.dim).

    Raises:
        UsageError: shapes or dtypes that do not fit the plan, or a third derivative was asked for.
    """
    return convolution_operator(features, harmonics, None, None, weights, *edges, key, False)


def spline_convolution(
    features: Tensor,
    harmonics: Tensor,
    basis: Tensor,
    knot: Tensor,
    table: Tensor,
    edges: EdgeIndex,
    key: str,
    constant_features: bool = False,
) -> Tensor:
    """The same with the weights ``w_ij = sum_k basis_k table[knot + k]``.

    Args:
        features: (N, plan.input.dim), float32 or float64.
        harmonics: (E, (l_max+1)^2).
        basis: (E, 4).
        knot: (E,) int32.
        table: (rows, plan.num_weights).
        edges: of the batch.
        key: of the plan.
        constant_features: the features do not depend on the geometry: under ``gradients_of("inputs")`` they get no
            gradient.

    Returns:
        (N, plan.output.dim).

    Raises:
        IndexError: a knot outside the table.
        UsageError: shapes or dtypes that do not fit the plan, or a third derivative was asked for.
    """
    return convolution_operator(features, harmonics, basis, knot, table, *edges, key, constant_features)
