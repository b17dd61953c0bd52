"""Invariants of features: the mean square of the components of each channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value, plus
from equipot.nn import Invariants


class Square(Step):
    """``invariants(x)``."""

    accumulates = True

    def __init__(self, invariants: Invariants, x: Value) -> None:
        self.invariants = invariants
        self.inputs = (x,)
        self.output = Value(invariants.layout_out, is_table=x.is_table, is_constant=x.is_constant)

    def reference(self, batch: Batch, x: Tensor) -> Tensor:
        return self.invariants(x)

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> _SquarePasses:
        return _SquarePasses(self.invariants)

    def lower(self) -> Iterator[Operation]:
        def square(lowering: Lowering) -> None:
            blocks = [(block.components, block.channels) for block in self.invariants.layout_in.blocks]
            lowering.document.invariants(lowering.buffer(self.inputs[0]), lowering.buffer(self.output), blocks)

        yield self.inputs, square


class _SquarePasses:
    def __init__(self, invariants: Invariants) -> None:
        self._module = invariants
        self._h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return self._module(x)

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        self._g = g
        return [plus(totals[0], self._module.spread(2 * g, self._x))]

    def tangent(self, h: Tensor | None) -> Tensor | None:
        self._h = h
        return None if h is None else self._module.product(2 * self._x, h)

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        own = self._module.spread(2 * b, self._x)
        if self._h is not None:
            own = own + self._module.spread(2 * self._g, self._h)
        return [plus(totals[0], own)], []
