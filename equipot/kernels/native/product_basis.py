"""The native product basis as torch operators: values, gradients and double gradients, no third derivatives.

``equipot::product_basis`` is linear in its weights and polynomial in its features. Its gradient is an operator of its
own with its own gradient, so that losses on forces are differentiated exactly.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch

from equipot.kernels import selection
from equipot.kernels.native import library
from equipot.kernels.plans import ProductBasisPlan
from equipot.kernels.product_program import ProductProgram


def product_basis(
    features: torch.Tensor, weights: torch.Tensor, species: torch.Tensor, plan: ProductBasisPlan
) -> torch.Tensor:
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
        NotImplementedError: third derivatives were asked for.
    """
    return torch.ops.equipot.product_basis(features, weights, species, key_of(plan))


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
    return make_program(library.load().functions, ProductProgram.build(plan_of(key)))


def make_program(functions: ctypes.CDLL, program: ProductProgram) -> int:
    """Hand a program to C++ and return its address."""
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
    create = functions.equipot_product_basis_program
    create.restype = ctypes.c_void_p
    return create(
        *map(ctypes.c_int32, (program.num_inputs, len(program.outputs), program.num_paths, len(program.products))),
        _integers([node for pair in program.products for node in pair]),
        ctypes.c_int32(len(groups)),
        _integers(first_group),
        _integers(rows),
        ctypes.c_int32(len(entries)),
        _integers([factor for group in groups for factor in group.factors]),
        _integers(first_term),
        _integers([path for terms in entries for path, _ in terms]),
        (ctypes.c_double * max(1, first_term[-1]))(*[value for terms in entries for _, value in terms]),
    )


def _integers(values: list[int]) -> ctypes.Array:
    return (ctypes.c_int32 * max(1, len(values)))(*values)


@cache
def _function(name: str, dtype: torch.dtype, num_pointers: int) -> ctypes._CFuncPtr:
    """An entry point (program, atoms, channels, species, pointers..., threads) -> error code."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}[dtype]
    function = getattr(library.load().functions, f"equipot_product_basis_{name}_{suffix}")
    function.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, *[ctypes.c_void_p] * num_pointers, ctypes.c_int]
    function.restype = ctypes.c_int
    return function


def _call(name: str, key: str, features: torch.Tensor, weights: torch.Tensor, *tensors: torch.Tensor | None) -> None:
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


def _check(features: torch.Tensor, weights: torch.Tensor, species: torch.Tensor, key: str) -> None:
    """The shapes C++ relies on."""
    inputs, paths = _sizes(key)
    if (features.dim() != 3 or features.shape[1] != inputs or weights.shape[1:] != (paths, features.shape[2])
            or weights.dtype != features.dtype or species.shape != features.shape[:1] or species.dtype != torch.int64):
        raise ValueError(
            f"The product basis {key} takes features (N, {inputs}, C), weights (species, {paths}, C) of the same type "
            f"and species (N,) of int64, not {tuple(features.shape)}, {tuple(weights.shape)} and "
            f"{tuple(species.shape)} of {features.dtype}, {weights.dtype} and {species.dtype}."
        )


@torch.library.custom_op("equipot::product_basis", mutates_args=(), device_types="cpu")
def _forward(features: torch.Tensor, weights: torch.Tensor, species: torch.Tensor, key: str) -> torch.Tensor:
    _check(features, weights, species, key)
    features, weights, species = features.contiguous(), weights.contiguous(), species.contiguous()
    out = features.new_empty(features.shape[0], _num_outputs(key), features.shape[2])
    _call("forward", key, features, weights, features, species, weights, out)
    return out


@_forward.register_fake
def _(features: torch.Tensor, weights: torch.Tensor, species: torch.Tensor, key: str) -> torch.Tensor:
    return features.new_empty(features.shape[0], _num_outputs(key), features.shape[2])


@torch.library.custom_op("equipot::product_basis_backward", mutates_args=(), device_types="cpu")
def _backward(
    g: torch.Tensor, features: torch.Tensor, weights: torch.Tensor, species: torch.Tensor, key: str,
    wants_features: bool, wants_weights: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of the features and the weights; empty where not wanted."""
    g, features, weights, species = (tensor.contiguous() for tensor in (g, features, weights, species))
    gx = torch.empty_like(features) if wants_features else None
    gw = torch.empty_like(weights) if wants_weights else None
    _call("backward", key, features, weights, features, species, weights, g, gx, gw)
    return _present(gx, features), _present(gw, features)


@_backward.register_fake
def _(g, features, weights, species, key, wants_features, wants_weights):
    gx = features.new_empty(features.shape) if wants_features else features.new_empty(0)
    gw = features.new_empty(weights.shape) if wants_weights else features.new_empty(0)
    return gx, gw


@torch.library.custom_op("equipot::product_basis_double_backward", mutates_args=(), device_types="cpu")
def _double_backward(
    hx: torch.Tensor | None, hw: torch.Tensor | None, g: torch.Tensor, features: torch.Tensor, weights: torch.Tensor,
    species: torch.Tensor, key: str, wants_g: bool, wants_features: bool, wants_weights: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of <hx, gx> + <hw, gw>, what the backward operator returns, for g, features and weights."""
    g, features, weights, species = (tensor.contiguous() for tensor in (g, features, weights, species))
    hx = None if hx is None else hx.contiguous()
    hw = None if hw is None else hw.contiguous()
    gg = torch.empty_like(g) if wants_g else None
    gx = torch.empty_like(features) if wants_features else None
    gw = torch.empty_like(weights) if wants_weights else None
    _call("double_backward", key, features, weights, features, species, weights, g, hx, hw, gg, gx, gw)
    return _present(gg, features), _present(gx, features), _present(gw, features)


@_double_backward.register_fake
def _(hx, hw, g, features, weights, species, key, wants_g, wants_features, wants_weights):
    shapes = ((g.shape, wants_g), (features.shape, wants_features), (weights.shape, wants_weights))
    return tuple(features.new_empty(shape if wanted else (0,)) for shape, wanted in shapes)


def _present(tensor: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(0) if tensor is None else tensor


def _save_forward(ctx, inputs, output) -> None:
    *tensors, ctx.key = inputs
    ctx.save_for_backward(*tensors)


def _forward_gradient(ctx, g):
    features, weights, species = ctx.saved_tensors
    wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1] and selection.wants_parameters()
    gx, gw = torch.ops.equipot.product_basis_backward(g, features, weights, species, ctx.key, *wanted)
    return gx if wanted[0] else None, gw if wanted[1] else None, None, None


def _save_backward(ctx, inputs, output) -> None:
    *tensors, ctx.key, ctx.has_x, ctx.has_w = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _backward_gradient(ctx, hx, hw):
    g, features, weights, species = ctx.saved_tensors
    hx, hw = hx if ctx.has_x else None, hw if ctx.has_w else None
    if hx is None and hw is None:
        return (None,) * 7
    needs_g, needs_x, needs_w, *_ = ctx.needs_input_grad
    wanted = needs_g, needs_x, needs_w and selection.wants_parameters() and hx is not None
    results = torch.ops.equipot.product_basis_double_backward(hx, hw, g, features, weights, species, ctx.key, *wanted)
    return *(result if want else None for result, want in zip(results, wanted)), None, None, None, None


def _third_derivative(ctx, *gradients):
    raise NotImplementedError(
        "The native product basis has first and second derivatives only; use "
        "equipot.kernels.selection.use('reference') for third derivatives."
    )


_forward.register_autograd(_forward_gradient, setup_context=_save_forward)
_backward.register_autograd(_backward_gradient, setup_context=_save_backward)
_double_backward.register_autograd(_third_derivative, setup_context=lambda ctx, inputs, output: None)
