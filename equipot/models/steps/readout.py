"""Energies from the scalars of features, through a perceptron."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from equipot.kernels import Block, FeatureLayout
from equipot.kernels.document import GateItem, LinearBlock
from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value, plus
from equipot.models.steps.gate import GatePasses
from equipot.models.steps.mix import MixPasses
from equipot.nn import MultiLayerPerceptron

ENERGY = FeatureLayout((Block(1, 0, 1),))


class Readout(Step):
    """``perceptron(scalars of x) + energy``, (N, 1).

    Args:
        perceptron: from the even scalars to one number.
        x: features.
        energy: of other readouts; None: there are none before.
    """

    accumulates = True

    def __init__(self, perceptron: MultiLayerPerceptron, x: Value, energy: Value | None = None) -> None:
        self.perceptron = perceptron
        self.inputs = (x,) if energy is None else (x, energy)
        self.output = Value(ENERGY, is_constant=all(each.is_constant for each in self.inputs))
        scalars = x.layout.index(0, 1)
        assert scalars is not None, "a readout needs even scalars"
        self._start = x.layout.offsets[scalars]
        self._channels = x.layout.blocks[scalars].channels

    def parameters(self) -> list[Tensor]:
        return list(self.perceptron.weights)

    def reference(self, batch: Batch, x: Tensor, energy: Tensor | None = None) -> Tensor:
        if x.shape[1] != self._channels:
            x = x[:, self._start : self._start + self._channels]
        own = self.perceptron(x)
        return own if energy is None else energy + own

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> _ReadoutPasses:
        return _ReadoutPasses(str(self.inputs[0].layout), parameters)

    def lower(self) -> Iterator[Operation]:
        def read_out(lowering: Lowering) -> None:
            document, at, start = lowering.document, lowering.buffer(self.inputs[0]), self._start
            *hidden, last = self.perceptron.weights
            for weight in hidden:
                width = weight.shape[1]
                mixed, activated = document.buffer(width), document.buffer(width)
                document.linear(at, mixed, [LinearBlock(1, start, 0, weight.unsqueeze(0))])
                document.gate(mixed, activated, [GateItem("silu", 0, 0, 1, width)])
                at, start = activated, 0
            document.readout(at, start, last[:, 0])

        yield self.inputs[:1], read_out  # the engine adds all readouts up


class _ReadoutPasses:
    def __init__(self, irreps: str, matrices: Sequence[Tensor]) -> None:
        self._steps: list[MixPasses | GatePasses] = []
        for k, matrix in enumerate(matrices):
            if k:
                irreps = f"{len(matrix)}x0e"
                self._steps.append(GatePasses(irreps))
            self._steps.append(MixPasses(f"{irreps} > {matrix.shape[1]}x0e", [matrix]))

    def forward(self, x: Tensor, energy: Tensor | None = None) -> Tensor:
        for step in self._steps[:-1]:
            x = step.forward(x)
        return self._steps[-1].forward(x, *([] if energy is None else [energy]))

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        gradient = g
        for step in reversed(self._steps[1:]):
            gradient = step.backward(gradient, [None])[0]
        return [*self._steps[0].backward(gradient, totals[:1]), *(plus(total, g) for total in totals[1:])]

    def tangent(self, h: Tensor | None, energy: Tensor | None = None) -> Tensor | None:
        if h is None:
            return energy
        for step in self._steps[:-1]:
            h = step.tangent(h)
        return self._steps[-1].tangent(h, *([] if energy is None else [energy]))

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        gradients: list[Tensor] = []
        gradient = b
        for step in reversed(self._steps[1:]):
            (gradient,), own = step.adjoint(gradient, [None])
            gradients = own + gradients
        of_input, own = self._steps[0].adjoint(gradient, totals[:1])
        return [*of_input, *(plus(total, b) for total in totals[1:])], own + gradients
