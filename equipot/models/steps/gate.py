"""The gate nonlinearity: scalars through an activation, other irreps times an activated scalar of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from equipot.kernels.document import GateItem
from equipot.kernels.native import gate
from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value, plus
from equipot.nn import Gate


class Activate(Step):
    """``gate(x)``."""

    def __init__(self, gate: Gate, x: Value) -> None:
        self.gate = gate
        self.inputs = (x,)
        self.output = Value(gate.layout_out, is_table=x.is_table, is_constant=x.is_constant)

    def reference(self, batch: Batch, x: Tensor) -> Tensor:
        return self.gate(x)

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> GatePasses:
        return GatePasses(self.gate.activation.plan.key)

    def lower(self) -> Iterator[Operation]:
        def activate(lowering: Lowering) -> None:
            lowering.document.gate(
                lowering.own_buffer(self.inputs[0]), lowering.buffer(self.output), gate_items(self.gate)
            )

        yield self.inputs, activate


def gate_items(gate: Gate) -> list[GateItem]:
    """What a gate does to each run of channels, as the engine reads it."""
    scalars, *others = zip(gate.layout_in.blocks, gate.layout_in.offsets)
    next_gate = gate.layout_out.blocks[0].channels
    items = [GateItem("silu", scalars[1], 0, 1, next_gate)]
    for block, offset, target in zip(gate.layout_out.blocks[1:], (o for _, o in others), gate.layout_out.offsets[1:]):
        if block.l == 0:
            items.append(GateItem("tanh", offset, target, 1, block.channels))
        else:
            items.append(GateItem("gated", offset, target, block.components, block.channels, next_gate))
            next_gate += block.channels
    return items


class GatePasses:
    """The gate nonlinearity of a plan, by its key."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return gate.gate_operator(x, self._key)

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        self._g = g
        return [plus(totals[0], gate.gate_backward_operator(g, self._x, self._key))]

    def tangent(self, h: Tensor | None) -> Tensor | None:
        self._h = h
        return None if h is None else gate.gate_tangent(self._x, h, self._key)

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        if self._h is None:
            return [plus(totals[0], gate.gate_backward_operator(b, self._x, self._key))], []
        return [plus(totals[0], gate.gate_adjoint(self._g, self._x, self._h, b, self._key))], []
