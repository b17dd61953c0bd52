"""Channel mixing of node features as torch operators in C++.

Mixing and its transposes are linear in each argument and each other's derivatives, so they can be differentiated any
number of times.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.native import library
from equipot.kernels.native.operator import address, operator
from equipot.kernels.node_plans import MixingPlan
from equipot.kernels.selection import wants_parameters

_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}


class _Table:
    """A plan's rows as C++ reads them, and what is needed of it at every call."""

    def __init__(self, plan: MixingPlan) -> None:
        self.in_dim, self.out_dim, self.weight_size = plan.layout_in.dim, plan.layout_out.dim, plan.weight_size
        values = [value for row in plan.rows for value in row]
        self.kept = (ctypes.c_int64 * max(1, len(values)))(*values)
        self.head = (
            len(plan.rows), ctypes.addressof(self.kept), self.in_dim, self.out_dim, self.weight_size
        )  # fmt: skip


@cache
def _mixing(key: str) -> _Table:
    return _Table(MixingPlan.from_key(key))


@cache
def _function(name: str, dtype: torch.dtype, arguments: str) -> Any:
    """An entry point; ``arguments``: i a 64-bit integer, p a pointer, n an int."""
    loaded = library.load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    function = getattr(loaded.functions, f"equipot_{name}_{_SUFFIXES[dtype]}")
    types = {"i": ctypes.c_int64, "p": ctypes.c_void_p, "n": ctypes.c_int}
    function.argtypes, function.restype = [types[letter] for letter in arguments], ctypes.c_int
    return function


def _misfit(what: str, *tensors: Tensor | None) -> UsageError:
    found = ", ".join("None" if t is None else f"{tuple(t.shape)} {t.dtype}" for t in tensors)
    return UsageError(f"{what}, found {found}.")


def _check_species(failed: int, num_species: int) -> None:
    if failed:
        raise IndexError(f"A species number is outside 0..{num_species - 1}, the rows of the weights.")


def _species_fit(species: Tensor | None, x: Tensor, num_species: int) -> bool:
    if species is None:
        return num_species == 1
    return species.dtype == torch.int64 and species.shape == x.shape[:1]


def _mix(
    x: Tensor, weights: Tensor, species: Tensor | None, addend: Tensor | None, key: str, transposed: bool
) -> Tensor:
    table = _mixing(key)
    before, after = (table.out_dim, table.in_dim) if transposed else (table.in_dim, table.out_dim)
    if (
        x.dim() != 2
        or x.shape[1] != before
        or weights.dim() != 2
        or weights.shape[1] != table.weight_size
        or weights.dtype != x.dtype
        or not _species_fit(species, x, weights.shape[0])
        or (addend is not None and (addend.shape != (len(x), after) or addend.dtype != x.dtype))
    ):
        raise _misfit(
            f"Mixing takes features (N, {before}), weights (species, {table.weight_size}) of the same type, species "
            f"(N,) of int64 (None for one set of weights) and an addend (N, {after}) or None",
            x, weights, species, addend,
        )  # fmt: skip
    x, weights = x.contiguous(), weights.contiguous()
    species = None if species is None else species.contiguous()
    addend = None if addend is None else addend.contiguous()
    out = x.new_empty(x.shape[0], after)
    failed = _function("mix", x.dtype, "ipiiiiipppppnn")(
        *table.head, x.shape[0], weights.shape[0], address(species), x.data_ptr(), weights.data_ptr(),
        address(addend), out.data_ptr(), transposed, torch.get_num_threads(),
    )  # fmt: skip
    _check_species(failed, weights.shape[0])
    return out


def _shape_mix(
    x: Tensor, weights: Tensor, species: Tensor | None, addend: Tensor | None, key: str, transposed: bool
) -> Tensor:
    table = _mixing(key)
    return x.new_empty(x.shape[0], table.in_dim if transposed else table.out_dim)


def _outer(x: Tensor, g: Tensor, species: Tensor | None, key: str, num_species: int) -> Tensor:
    return sum_of_outers(x, g, None, None, species, key, num_species)


def sum_of_outers(
    x: Tensor,
    g: Tensor,
    second_x: Tensor | None,
    second_g: Tensor | None,
    species: Tensor | None,
    key: str,
    num_species: int,
) -> Tensor:
    """Sum over atoms of x^T g and, if given, of the second pair's (of the same shapes), (species, size)."""
    table = _mixing(key)
    if (
        x.dim() != 2
        or x.shape[1] != table.in_dim
        or g.shape != (x.shape[0], table.out_dim)
        or g.dtype != x.dtype
        or not _species_fit(species, x, num_species)
    ):
        raise _misfit(
            f"The gradient of mixing takes features (N, {table.in_dim}) and (N, {table.out_dim}) of the same type, and "
            "species (N,) of int64 (None for one set of weights)", x, g, species,
        )  # fmt: skip
    pairs = [None if each is None else each.contiguous() for each in (x, g, second_x, second_g)]
    species = None if species is None else species.contiguous()
    gw = x.new_empty(num_species, table.weight_size)
    failed = _function("mix_outer", x.dtype, "ipiiiiippppppn")(
        *table.head, x.shape[0], num_species, address(species), *map(address, pairs), gw.data_ptr(),
        torch.get_num_threads(),
    )  # fmt: skip
    _check_species(failed, num_species)
    return gw


def _shape_outer(x: Tensor, g: Tensor, species: Tensor | None, key: str, num_species: int) -> Tensor:
    return x.new_empty(num_species, _mixing(key).weight_size)


def _setup_mix(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.key, ctx.transposed = inputs[4:]


def _backward_of_mix(ctx: Any, g: Tensor | None) -> tuple:
    if g is None:
        return (None,) * 6
    x, weights, species = ctx.saved_tensors
    gx = gw = None
    if ctx.needs_input_grad[0]:
        gx = mix_operator(g, weights, species, None, ctx.key, not ctx.transposed)
    if ctx.needs_input_grad[1] and wants_parameters():
        gw = outer_operator(*((g, x) if ctx.transposed else (x, g)), species, ctx.key, weights.shape[0])
    return gx, gw, None, g if ctx.needs_input_grad[3] else None, None, None


def _setup_outer(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.key = inputs[3]


def _backward_of_outer(ctx: Any, h: Tensor | None) -> tuple:
    if h is None:
        return (None,) * 5
    x, g, species = ctx.saved_tensors
    gx = mix_operator(g, h, species, None, ctx.key, True) if ctx.needs_input_grad[0] else None
    gg = mix_operator(x, h, species, None, ctx.key, False) if ctx.needs_input_grad[1] else None
    return gx, gg, None, None, None


#: (x, weights (species, size), species or None, addend or None, plan's key, transposed) -> mixed features.
mix_operator = operator(
    "mix(Tensor x, Tensor weights, Tensor? species, Tensor? addend, str plan, bool transposed) -> Tensor",
    compute=_mix, fake=_shape_mix, setup_context=_setup_mix, backward=_backward_of_mix,
)  # fmt: skip
#: (x, g, species or None, plan's key, number of species) -> sum over atoms of x^T g, (species, size).
outer_operator = operator(
    "mix_outer(Tensor x, Tensor g, Tensor? species, str plan, int num_species) -> Tensor",
    compute=_outer, fake=_shape_outer, setup_context=_setup_outer, backward=_backward_of_outer,
)  # fmt: skip
