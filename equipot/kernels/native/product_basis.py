"""The native product basis as torch operators: values, gradients and double gradients, no third derivatives.

``equipot::product_basis`` is linear in its weights and polynomial in its features. Its gradient is an operator of its
own with its own gradient, so that losses on forces are differentiated exactly.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.native import library
from equipot.kernels.native.operator import operator
from equipot.kernels.plans import ProductBasisPlan
from equipot.kernels.product_program import ProductProgram
from equipot.kernels.selection import wants_parameters


@cache
def key_of(plan: ProductBasisPlan) -> str:
    """The plan as text, as the operators take it: ``l_max;correlation;l_out,...``."""
    return f"{plan.l_max};{plan.correlation};{','.join(map(str, plan.l_out))}"


def plan_of(key: str) -> ProductBasisPlan:
    """The inverse of :func:`key_of`."""
    l_max, correlation, l_out = key.split(";")
    return ProductBasisPlan(int(l_max), int(correlation), tuple(int(l) for l in l_out.split(",")))


@cache
def program_pointer(key: str) -> int:
    """The address of the C++ program of a plan; it lives as long as the process.

    The C++ functions are those of :func:`equipot.kernels.native.library.load`.
    """
    return make_program(_functions(), ProductProgram.build(plan_of(key)))


def make_program(functions: ctypes.CDLL, program: ProductProgram) -> int:
    """Hand a program to C++ and return its address."""
    integers, reals = program_numbers(program)
    create = functions.equipot_product_basis_program
    create.restype = ctypes.c_void_p
    return create((ctypes.c_int64 * len(integers))(*integers), (ctypes.c_double * max(1, len(reals)))(*reals))


def program_numbers(program: ProductProgram) -> tuple[list[int], list[float]]:
    """A program as plain numbers, in the order of ``read_product_basis_program`` in C++."""
    groups = [group for output in program.outputs for group in output]
    entries = [terms for group in groups for terms in group.terms]
    first_group, first_entry, first_term = [0], 0, [0]
    for output in program.outputs:
        first_group.append(first_group[-1] + len(output))
    rows = []
    for group in groups:
        rows += [group.prefix, first_entry, first_entry + len(group.factors)]
        first_entry += len(group.factors)
    for terms in entries:
        first_term.append(first_term[-1] + len(terms))
    integers = [
        program.num_inputs,
        len(program.outputs),
        program.num_paths,
        len(program.products),
        *(node for pair in program.products for node in pair),
        len(groups),
        *first_group,
        *rows,
        len(entries),
        *(factor for group in groups for factor in group.factors),
        *first_term,
        *(path for terms in entries for path, _ in terms),
    ]
    return integers, [value for terms in entries for _, value in terms]


def _functions() -> ctypes.CDLL:
    loaded = library.load()
    if isinstance(loaded, str):
        raise UsageError(loaded)
    return loaded.functions


@cache
def _function(name: str, dtype: torch.dtype, num_pointers: int) -> Any:
    """An entry point (program, atoms, channels, species, pointers..., threads) -> error code."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    function = getattr(_functions(), f"equipot_product_basis_{name}_{suffix}")
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * num_pointers, ctypes.c_int]
    function.restype = ctypes.c_int
    return function


def _call(name: str, key: str, features: Tensor, weights: Tensor, *tensors: Tensor | None) -> None:
    """Run an entry point on contiguous tensors; None is a null pointer."""
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    failed = _function(name, features.dtype, len(tensors))(
        program_pointer(key), features.shape[0], features.shape[2], weights.shape[0], *pointers, torch.get_num_threads()
    )
    if failed:
        raise IndexError(f"A species number is outside 0..{weights.shape[0] - 1}, the rows of the weights.")


@cache
def _num_outputs(key: str) -> int:
    return sum(2 * l + 1 for l in plan_of(key).l_out)


@cache
def _sizes(key: str) -> tuple[int, int]:
    plan = plan_of(key)
    return (plan.l_max + 1) ** 2, sum(plan.num_paths(*term) for term in plan.terms)


def _check(features: Tensor, weights: Tensor, species: Tensor, key: str) -> None:
    """The shapes C++ relies on."""
    inputs, paths = _sizes(key)
    if (
        features.dim() != 3
        or features.shape[1] != inputs
        or weights.shape[1:] != (paths, features.shape[2])
        or weights.dtype != features.dtype
        or species.shape != features.shape[:1]
        or species.dtype != torch.int64
    ):
        raise UsageError(
            f"The product basis {key} takes features (N, {inputs}, C), weights (species, {paths}, C) of the same type "
            f"and species (N,) of int64, not {tuple(features.shape)}, {tuple(weights.shape)} and "
            f"{tuple(species.shape)} of {features.dtype}, {weights.dtype} and {species.dtype}."
        )


def _forward(features: Tensor, weights: Tensor, species: Tensor, key: str) -> Tensor:
    _check(features, weights, species, key)
    features, weights, species = features.contiguous(), weights.contiguous(), species.contiguous()
    out = _shape_forward(features, weights, species, key)
    _call("forward", key, features, weights, features, species, weights, out)
    return out


def _shape_forward(features: Tensor, weights: Tensor, species: Tensor, key: str) -> Tensor:
    return features.new_empty(features.shape[0], _num_outputs(key), features.shape[2])


def _backward(
    g: Tensor, features: Tensor, weights: Tensor, species: Tensor, key: str, *wanted: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the features and the weights."""
    _check(features, weights, species, key)
    g, features, weights, species = (tensor.contiguous() for tensor in (g, features, weights, species))
    outputs = _shape_backward(g, features, weights, species, key, *wanted)
    _call("backward", key, features, weights, features, species, weights, g, *map(_given, outputs))
    return outputs


def _shape_backward(
    g: Tensor, features: Tensor, weights: Tensor, species: Tensor, key: str, *wanted: bool
) -> tuple[Tensor, Tensor]:
    return tuple(_empty(features, tensor.shape, want) for tensor, want in zip((features, weights), wanted))


def _double_backward(
    g: Tensor, hx: Tensor | None, hw: Tensor | None, features: Tensor, weights: Tensor, species: Tensor, key: str,
    *wanted: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of <hx, gx> + <hw, gw>, with gx and gw what the backward operator returns, for g, features, weights."""
    _check(features, weights, species, key)
    g, features, weights, species = (tensor.contiguous() for tensor in (g, features, weights, species))
    hx = None if hx is None else hx.contiguous()
    hw = None if hw is None else hw.contiguous()
    outputs = _shape_double_backward(g, hx, hw, features, weights, species, key, *wanted)
    _call("double_backward", key, features, weights, features, species, weights, g, hx, hw, *map(_given, outputs))
    return outputs


def _shape_double_backward(
    g: Tensor, hx: Tensor | None, hw: Tensor | None, features: Tensor, weights: Tensor, species: Tensor, key: str,
    *wanted: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return tuple(_empty(features, tensor.shape, want) for tensor, want in zip((g, features, weights), wanted))


def _empty(like: Tensor, shape: torch.Size, wanted: bool) -> Tensor:
    """Operators must return tensors: what is not wanted is one of no dimensions that nobody reads."""
    return like.new_empty(shape if wanted else ())


def _given(output: Tensor) -> Tensor | None:
    return output if output.dim() else None


def _setup_forward(ctx: Any, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.key = inputs[3]


def _backward_of_forward(ctx: Any, g: Tensor | None) -> tuple:
    needs_x, needs_w, *_ = ctx.needs_input_grad
    wanted = needs_x, needs_w and wants_parameters()
    if g is None or not any(wanted):
        return (None,) * 4
    gx, gw = product_basis_backward_operator(g, *ctx.saved_tensors, ctx.key, *wanted)
    return gx if wanted[0] else None, gw if wanted[1] else None, None, None


def _setup_backward(ctx: Any, inputs: tuple, output: tuple) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.key, ctx.has_x, ctx.has_w = inputs[4:]


def _backward_of_backward(ctx: Any, hx: Tensor | None, hw: Tensor | None) -> tuple:
    hx, hw = hx if ctx.has_x else None, hw if ctx.has_w else None
    needs_g, needs_x, needs_w, *_ = ctx.needs_input_grad
    # gw does not depend on the weights, of which the outputs are linear.
    wanted = needs_g, needs_x, needs_w and hx is not None and wants_parameters()
    if (hx is None and hw is None) or not any(wanted):
        return (None,) * 7
    g, features, weights, species = ctx.saved_tensors
    outputs = _product_basis_double_backward(g, hx, hw, features, weights, species, ctx.key, *wanted)
    return *(output if want else None for output, want in zip(outputs, wanted)), None, None, None, None


_TENSORS = "Tensor features, Tensor weights, Tensor species, str plan"
_product_basis_double_backward = operator(
    f"product_basis_double_backward(Tensor g, Tensor? h_features, Tensor? h_weights, {_TENSORS}, bool wants_g, "
    "bool wants_features, bool wants_weights) -> (Tensor, Tensor, Tensor)",
    compute=_double_backward, fake=_shape_double_backward,
)  # fmt: skip
product_basis_backward_operator = operator(
    f"product_basis_backward(Tensor g, {_TENSORS}, bool wants_features, bool wants_weights) -> (Tensor, Tensor)",
    compute=_backward, fake=_shape_backward, setup_context=_setup_backward, backward=_backward_of_backward,
)  # fmt: skip
product_basis_operator = operator(
    f"product_basis({_TENSORS}) -> Tensor",
    compute=_forward, fake=_shape_forward, setup_context=_setup_forward, backward=_backward_of_forward,
)  # fmt: skip


def product_basis_tangent(features: Tensor, h: Tensor, weights: Tensor, species: Tensor, key: str) -> Tensor:
    """How the result moves as the features do along ``h``."""
    features, h = features.contiguous(), h.contiguous()
    out = _shape_forward(features, weights, species, key)
    _call("double_backward", key, features, weights, features, species, weights, None, h, None, out, None, None)
    return out


def product_basis_adjoint(
    features: Tensor, g: Tensor, h: Tensor, b: Tensor, weights: Tensor, species: Tensor, key: str
) -> tuple[Tensor, Tensor]:
    """Gradients in features and weights of sum(b * result) + sum(g * product_basis_tangent)."""
    features, g, h, b = (tensor.contiguous() for tensor in (features, g, h, b))
    outputs = torch.empty_like(features), torch.empty_like(weights)
    _call("adjoint", key, features, weights, features, species, weights, g, h, b, *outputs)
    return outputs


def product_basis(features: Tensor, weights: Tensor, species: Tensor, plan: ProductBasisPlan) -> Tensor:
    """Contract products of the features.

    Args:
        features: (N, (l_max+1)^2, C), float32 or float64.
        weights: (num_species, num_paths, C), the weights of all ``plan.terms`` one behind the other.
        species: (N,) int64, row of the weights for each atom.
        plan: what to compute.

    Returns:
        (N, sum of 2l+1, C), the components of ``plan.l_out`` one behind the other.

    Raises:
        IndexError: a species is out of range.
        UsageError: shapes or dtypes that do not fit the plan, or a third derivative was asked for.
    """
    return product_basis_operator(features, weights, species, key_of(plan))
