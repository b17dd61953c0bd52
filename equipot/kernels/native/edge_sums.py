"""Operators that sum over the edges of each atom in float64: the smooth number of neighbours, forces with virials."""

from __future__ import annotations

from ctypes import c_double, c_int, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from equipot.kernels.native.operator import address, entry_point, operator
from equipot.kernels.selection import wants_geometry


def _call(name: str, settings: tuple, types: tuple, *tensors: Tensor | None) -> None:
    function = entry_point(name, None, (*types, *(c_void_p for _ in tensors), c_int))
    function(*settings, *map(address, tensors), torch.get_num_threads())


# --- the smooth number of neighbours

_COORDINATION = (c_int, c_double, c_int64)


def _coordination(vector: Tensor, center_ptr: Tensor, cutoff: float, power: int) -> Tensor:
    number = vector.new_empty(len(center_ptr) - 1)
    _call("coordination", (power, cutoff, len(number)), _COORDINATION, vector.contiguous(), center_ptr, number)
    return number


def _coordination_backward(vector: Tensor, center_ptr: Tensor, g_number: Tensor, cutoff: float, power: int) -> Tensor:
    g_vector = torch.empty_like(vector, memory_format=torch.contiguous_format)
    _call(
        "coordination_backward",
        (power, cutoff, len(g_number)),
        _COORDINATION,
        vector.contiguous(),
        center_ptr,
        g_number.contiguous(),
        g_vector,
    )
    return g_vector


def _coordination_double_backward(
    vector: Tensor,
    center_ptr: Tensor,
    g_number: Tensor,
    h_vector: Tensor,
    cutoff: float,
    power: int,
    wants_vector: bool,
) -> tuple[Tensor, Tensor]:
    gg_number, g_vector = torch.empty_like(g_number), vector.new_empty(vector.shape if wants_vector else (0,))
    _call(
        "coordination_double_backward",
        (power, cutoff, len(g_number)),
        _COORDINATION,
        vector.contiguous(),
        center_ptr,
        g_number.contiguous(),
        h_vector.contiguous(),
        gg_number,
        g_vector,
    )
    return gg_number, g_vector


def _setup(ctx: Any, inputs: tuple, output: Any) -> None:
    ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
    ctx.settings = tuple(value for value in inputs if not isinstance(value, Tensor))


def _gradient_of_coordination(ctx: Any, g_number: Tensor | None) -> tuple:
    if g_number is None or not wants_geometry():
        return (None,) * 4
    return _backward(*ctx.saved_tensors, g_number, *ctx.settings), None, None, None


def _gradient_of_backward(ctx: Any, h_vector: Tensor | None) -> tuple:
    if h_vector is None:
        return (None,) * 5
    wants_vector = wants_geometry() and ctx.needs_input_grad[0]
    gg_number, g_vector = _double_backward(*ctx.saved_tensors, h_vector, *ctx.settings, wants_vector)
    return g_vector if wants_vector else None, None, gg_number, None, None


_double_backward = operator(
    "coordination_double_backward(Tensor vector, Tensor center_ptr, Tensor g_number, Tensor h_vector, float cutoff, "
    "int power, bool wants_vector) -> (Tensor, Tensor)",
    compute=_coordination_double_backward,
    fake=lambda vector, center_ptr, g_number, h_vector, cutoff, power, wants_vector: (
        torch.empty_like(g_number),
        vector.new_empty(vector.shape if wants_vector else (0,)),
    ),
)
_backward = operator(
    "coordination_backward(Tensor vector, Tensor center_ptr, Tensor g_number, float cutoff, int power) -> Tensor",
    compute=_coordination_backward,
    fake=lambda vector, *_: torch.empty_like(vector),
    setup_context=_setup,
    backward=_gradient_of_backward,
)
#: (vector (E, 3) float64, center_ptr (N+1,), cutoff, power) -> sum of envelopes (N,).
coordination = operator(
    "coordination(Tensor vector, Tensor center_ptr, float cutoff, int power) -> Tensor",
    compute=_coordination,
    fake=lambda vector, center_ptr, *_: vector.new_empty(len(center_ptr) - 1),
    setup_context=_setup,
    backward=_gradient_of_coordination,
)

# --- forces and virials


def _assemble(
    gradient: Tensor,
    vector: Tensor,
    center_ptr: Tensor,
    neighbor: Tensor,
    neighbor_order: Tensor,
    neighbor_ptr: Tensor,
    num_nodes: int,
) -> tuple[Tensor, Tensor]:
    forces, node_virial = gradient.new_empty(num_nodes, 3), gradient.new_empty(num_nodes, 9)
    _call(
        "assemble",
        (num_nodes,),
        (c_int64,),
        gradient.contiguous(),
        vector.contiguous(),
        center_ptr,
        neighbor_order,
        neighbor_ptr,
        forces,
        node_virial,
    )
    return forces, node_virial


def _assemble_backward(
    vector: Tensor,
    center_ptr: Tensor,
    neighbor: Tensor,
    h_forces: Tensor | None,
    h_node_virial: Tensor | None,
    num_nodes: int,
) -> Tensor:
    h_gradient = torch.empty_like(vector, memory_format=torch.contiguous_format)
    _call(
        "assemble_backward",
        (num_nodes,),
        (c_int64,),
        vector.contiguous(),
        center_ptr,
        neighbor,
        None if h_forces is None else h_forces.contiguous(),
        None if h_node_virial is None else h_node_virial.contiguous(),
        h_gradient,
    )
    return h_gradient


def _setup_assemble(ctx: Any, inputs: tuple, output: Any) -> None:
    _, vector, center_ptr, neighbor, _, _, ctx.num_nodes = inputs
    ctx.save_for_backward(vector, center_ptr, neighbor)


def _gradient_of_assemble(ctx: Any, h_forces: Tensor | None, h_node_virial: Tensor | None) -> tuple:
    if h_forces is None and h_node_virial is None:
        return (None,) * 7
    return _assemble_backward_operator(*ctx.saved_tensors, h_forces, h_node_virial, ctx.num_nodes), *(None,) * 6


_assemble_backward_operator = operator(
    "assemble_backward(Tensor vector, Tensor center_ptr, Tensor neighbor, Tensor? h_forces, Tensor? h_node_virial, "
    "int num_nodes) -> Tensor",
    compute=_assemble_backward,
    fake=lambda vector, *_: torch.empty_like(vector),
)
#: (dE/d vector (E, 3), vector (E, 3), both float64, center_ptr, neighbor, neighbor_order, neighbor_ptr, N) ->
#: forces (N, 3) and node virials (N, 9) of the edges each atom is the centre of. The vectors count as constants.
assemble = operator(
    "assemble(Tensor gradient, Tensor vector, Tensor center_ptr, Tensor neighbor, Tensor neighbor_order, "
    "Tensor neighbor_ptr, SymInt num_nodes) -> (Tensor, Tensor)",
    compute=_assemble,
    fake=lambda gradient, vector, center_ptr, neighbor, neighbor_order, neighbor_ptr, num_nodes: (
        gradient.new_empty(num_nodes, 3),
        gradient.new_empty(num_nodes, 9),
    ),
    setup_context=_setup_assemble,
    backward=_gradient_of_assemble,
)
