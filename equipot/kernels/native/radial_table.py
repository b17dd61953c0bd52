"""The operator ``equipot::radial_table``: a radial network at the knots, filtered into control points of splines."""

from __future__ import annotations

import itertools
from ctypes import c_double, c_int, c_int64, c_void_p
from functools import cache
from typing import Any

from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels.native.operator import address, entry_point, operator

_SETTINGS = (c_int64, c_int, c_void_p, c_double)


@cache
def _sizes(sizes: tuple[int, ...]) -> Any:
    return (c_int64 * len(sizes))(*sizes)


def _call(name: str, embedding: Tensor, sizes: list[int], scale: float, *tensors: Tensor | None) -> None:
    function = entry_point(name, embedding.dtype, (*_SETTINGS, *(c_void_p for _ in range(1 + len(tensors)))))
    function(len(embedding), len(sizes) - 1, _sizes(tuple(sizes)), scale, *map(address, (embedding, *tensors)))


def _check(embedding: Tensor, weights: Tensor, sizes: list[int]) -> None:
    expected = sum(a * b for a, b in itertools.pairwise(sizes))
    if (
        embedding.shape[1] != sizes[0]
        or len(embedding) < 5
        or weights.shape != (1, expected)
        or weights.dtype != embedding.dtype
    ):
        raise UsageError(
            f"A radial network of sizes {list(sizes)} takes a {sizes[0]}-dimensional embedding of 5 knots "
            f"or more and {expected} weights of its dtype, found {tuple(embedding.shape)} and "
            f"{tuple(weights.shape)}."
        )


def _forward(embedding: Tensor, weights: Tensor, sizes: list[int], scale: float) -> Tensor:
    _check(embedding, weights, sizes)
    table = _fake(embedding, weights, sizes, scale)
    _call("radial_table", embedding.contiguous(), sizes, scale, weights.contiguous(), table)
    return table


def _fake(embedding: Tensor, weights: Tensor, sizes: list[int], scale: float) -> Tensor:
    return embedding.new_empty(len(embedding) + 2, sizes[-1])


def _backward(
    embedding: Tensor, weights: Tensor, g_table: Tensor, sizes: list[int], scale: float, wants_embedding: bool
) -> tuple[Tensor, Tensor]:
    g_embedding, g_weights = _fake_backward(embedding, weights, g_table, sizes, scale, wants_embedding)
    _call(
        "radial_table_backward",
        embedding.contiguous(),
        sizes,
        scale,
        weights.contiguous(),
        g_table.contiguous(),
        g_embedding,
        g_weights,
    )
    return g_embedding, g_weights


def _fake_backward(
    embedding: Tensor, weights: Tensor, g_table: Tensor, sizes: list[int], scale: float, wants_embedding: bool
) -> tuple[Tensor, Tensor]:
    return embedding.new_empty(embedding.shape if wants_embedding else (0,)), weights.new_empty(weights.shape)


def _setup(ctx: Any, inputs: tuple, output: Tensor) -> None:
    embedding, weights, *ctx.settings = inputs
    ctx.save_for_backward(embedding, weights)


def _gradient(ctx: Any, g_table: Tensor | None) -> tuple:
    if g_table is None:
        return (None,) * 4
    wants_embedding = ctx.needs_input_grad[0]
    g_embedding, g_weights = radial_table_backward(*ctx.saved_tensors, g_table, *ctx.settings, wants_embedding)
    return g_embedding if wants_embedding else None, g_weights, None, None


radial_table_backward = operator(
    "radial_table_backward(Tensor embedding, Tensor weights, Tensor g_table, int[] sizes, float scale, "
    "bool wants_embedding) -> (Tensor, Tensor)",
    compute=_backward,
    fake=_fake_backward,
)
#: (embedding (knots, sizes[0]), all matrices in one row (1, numbers), sizes, scale) -> (knots + 2, sizes[-1]).
#: Differentiable once: nothing but the parameters depends on it.
radial_table = operator(
    "radial_table(Tensor embedding, Tensor weights, int[] sizes, float scale) -> Tensor",
    compute=_forward,
    fake=_fake,
    setup_context=_setup,
    backward=_gradient,
)
