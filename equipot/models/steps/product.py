"""The product basis: symmetric products of an atom's features, channel by channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from equipot.kernels import ProductBasisPlan
from equipot.kernels.native import product_basis
from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value, plus
from equipot.nn import SymmetricProduct


class Multiply(Step):
    """``product(x)`` with the weights of each atom's species."""

    def __init__(self, product: SymmetricProduct, x: Value) -> None:
        self.product = product
        self.inputs = (x,)
        self.output = Value(product.layout_out, is_table=x.is_table, is_constant=x.is_constant)

    def parameters(self) -> list[Tensor]:
        return list(self.product.weights)

    def reference(self, batch: Batch, x: Tensor) -> Tensor:
        return self.product(x, batch.rows(self.inputs[0]))

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> ProductPasses:
        return ProductPasses(self.product.plan, parameters, batch.rows(self.inputs[0]))

    def lower(self) -> Iterator[Operation]:
        def multiply(lowering: Lowering) -> None:
            weights = torch.cat([weight[lowering.species] for weight in self.product.weights], dim=1)
            x, output = lowering.own_buffer(self.inputs[0]), lowering.buffer(self.output)
            lowering.document.product(x, output, self.product.plan, weights)

        yield self.inputs, multiply


class ProductPasses:
    """Symmetric products of features, flat as the layouts have them.

    Args:
        plan: what to compute.
        weights: (species, paths, C) of each term.
        species: (N,).
    """

    def __init__(self, plan: ProductBasisPlan, weights: Sequence[Tensor], species: Tensor) -> None:
        self._key, self._sizes = product_basis.key_of(plan), [weight.shape[1] for weight in weights]
        self._fixed = (torch.cat(tuple(weights), dim=1), species, self._key)
        self._channels = weights[0].shape[2]
        self._h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._x = self._stack(x)
        return product_basis.product_basis_operator(self._x, *self._fixed).flatten(1)

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        self._g = self._stack(g)
        gx = product_basis.product_basis_backward_operator(self._g, self._x, *self._fixed, True, False)[0]
        return [plus(totals[0], gx.flatten(1))]

    def tangent(self, h: Tensor | None) -> Tensor | None:
        if h is None:
            return None
        self._h = self._stack(h)
        return product_basis.product_basis_tangent(self._x, self._h, *self._fixed).flatten(1)

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        b = self._stack(b)
        if self._h is None:
            bx, weights = product_basis.product_basis_backward_operator(b, self._x, *self._fixed, True, True)
        else:
            bx, weights = product_basis.product_basis_adjoint(self._x, self._g, self._h, b, *self._fixed)
        return [plus(totals[0], bx.flatten(1))], list(weights.split(self._sizes, dim=1))

    def _stack(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (-1, self._channels))
