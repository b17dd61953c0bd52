"""Channel mixing: the channels of every irrep through a matrix, one for all atoms or one for each species."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from equipot.kernels import Block
from equipot.kernels.document import LinearBlock
from equipot.kernels.native import channel_mixing
from equipot.kernels.native.join import join
from equipot.models.steps.base import Batch, Gradients, Lowering, Operation, Step, TapedBatch, Value
from equipot.nn import IrrepsLinear, SpeciesLinear

AnyLinear = IrrepsLinear | SpeciesLinear


class Mix(Step):
    """``linear(x) + addend``.

    Args:
        linear: its ``layout_in`` is x's.
        x: features, or a table of them.
        addend: of the same kind as x; None: nothing is added.
    """

    accumulates = True

    def __init__(self, linear: AnyLinear, x: Value, addend: Value | None = None, output: Value | None = None) -> None:
        self.linear = linear
        self.inputs = (x,) if addend is None else (x, addend)
        constant = all(each.is_constant for each in self.inputs)
        self.output = output or Value(linear.layout_out, is_table=x.is_table, is_constant=constant)

    @property
    def addends(self) -> tuple[Value, ...]:
        return self.inputs[1:]

    def parameters(self) -> list[Tensor]:
        weights = [getattr(self.linear, name) for name in self.linear.fan_in]
        return weights if self._bias is None else [*weights, self._bias]

    @property
    def _bias(self) -> Tensor | None:
        return self.linear.bias if isinstance(self.linear, IrrepsLinear) else None

    def reference(self, batch: Batch, x: Tensor, addend: Tensor | None = None) -> Tensor:
        if isinstance(self.linear, SpeciesLinear):
            return self.linear(x, batch.rows(self.inputs[0]), addend)
        return self.linear(x, addend)

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> MixPasses:
        species = batch.rows(self.inputs[0]) if isinstance(self.linear, SpeciesLinear) else None
        weights = parameters[: len(self.linear.fan_in)]
        bias = parameters[-1] if self._bias is not None else None
        return MixPasses(self.linear.mixing.plan.key, weights, species, bias, self._bias_offset)

    @property
    def _bias_offset(self) -> int:
        return self.linear.layout_out.offsets[self.linear.layout_out.index(0, 1)] if self._bias is not None else 0

    def lower(self) -> Iterator[Operation]:
        def mix(lowering: Lowering) -> None:
            blocks = list(linear_blocks(self.linear, lowering.species))
            lowering.document.linear(lowering.buffer(self.inputs[0]), lowering.buffer(self.output), blocks)
            self.lower_bias(lowering)

        yield self.inputs[:1], mix
        yield from lower_addends(self.inputs[1:], self.output)

    def lower_bias(self, lowering: Lowering) -> None:
        """Add the bias to the buffer of the output."""
        if self._bias is not None:
            row = self.linear.bias_row().expand(len(lowering.species), -1)
            lowering.document.rows(lowering.buffer(self.output), row)


class Sum(Step):
    """The sum of two values of the same irreps."""

    accumulates = True

    def __init__(self, one: Value, other: Value) -> None:
        self.inputs = (one, other)
        is_constant = one.is_constant and other.is_constant
        self.output = Value(one.layout, is_table=one.is_table, is_constant=is_constant)

    @property
    def addends(self) -> tuple[Value, ...]:
        return self.inputs

    def reference(self, batch: Batch, one: Tensor, other: Tensor) -> Tensor:
        return one + other

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> _SumPasses:
        return _SumPasses()

    def lower(self) -> Iterator[Operation]:
        yield from lower_addends(self.inputs, self.output)


def lower_addends(addends: Sequence[Value], output: Value) -> Iterator[Operation]:
    """Copy what is added to a sum into its buffer, where it has not been written there at once."""

    def copy(value: Value) -> Callable[[Lowering], None]:
        def operation(lowering: Lowering) -> None:
            source, target = lowering.buffer(value), lowering.buffer(output)
            if source != target:
                lowering.document.copy(
                    source, target, [(block.components, block.channels) for block in value.layout.blocks]
                )

        return operation

    for value in addends:
        yield (value,), copy(value)


def linear_blocks(linear: AnyLinear, species: Tensor) -> Iterator[LinearBlock]:
    """The engine's blocks of a linear map, for a document of these species."""
    for block, offset in zip(linear.layout_in.blocks, linear.layout_in.offsets):
        found = matrices_of(linear, block, species)
        if found is not None:
            yield LinearBlock(block.components, offset, found[1], found[0])


def matrices_of(linear: AnyLinear, block: Block, species: Tensor) -> tuple[Tensor, int] | None:
    """The matrices (1 or S, in, out) an irrep goes through and the offset it goes to; None where it goes nowhere."""
    k = linear.layout_out.index(*block.irrep)
    if k is None:
        return None
    weight = getattr(linear, f"weight_{k}")
    sets = weight[species] if isinstance(linear, SpeciesLinear) else weight.unsqueeze(0)
    return sets, linear.layout_out.offsets[k]


class MixPasses:
    """Channel mixing with matrices that are parameters, and a bias.

    Args:
        key: of the plan.
        weights: its matrices, or with ``species`` stacks of them.
        species: (N,) of each row, None for one set of matrices.
        bias: (C,), added to the columns from ``bias_offset`` on.
    """

    def __init__(
        self,
        key: str,
        weights: Sequence[Tensor],
        species: Tensor | None = None,
        bias: Tensor | None = None,
        bias_offset: int = 0,
    ) -> None:
        self._key, self._species = key, species
        self._shapes = [weight.shape for weight in weights]
        self._num_sets = 1 if species is None else len(weights[0])
        self._weights = join(self._num_sets, weights)
        self._bias, self._bias_offset = bias, bias_offset
        self._g: Tensor | None = None
        self._h: Tensor | None = None

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        self._x = x
        mixed = self._mix(x, addend, False)
        if self._bias is not None:
            mixed[:, self._bias_columns] += self._bias
        return mixed

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        self._g = g
        return [self._mix(g, totals[0], True), *_through(g, totals[1:])]

    def tangent(self, h: Tensor | None, addend: Tensor | None = None) -> Tensor | None:
        if h is None:
            return addend
        self._h = h
        return self._mix(h, addend, False)

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        # The tangent is linear in h and the weights; where h is zero nothing of the backward pass enters.
        second = (None, None) if self._h is None else (self._h, self._g)
        flat = channel_mixing.sum_of_outers(self._x, b, *second, self._species, self._key, self._num_sets)
        parts = flat.split([shape.numel() // self._num_sets for shape in self._shapes], dim=1)
        gradients = [part.view(shape) for part, shape in zip(parts, self._shapes)]
        if self._bias is not None:
            gradients.append(b[:, self._bias_columns].sum(0))
        return [self._mix(b, totals[0], True), *_through(b, totals[1:])], gradients

    @property
    def _bias_columns(self) -> slice:
        assert self._bias is not None
        return slice(self._bias_offset, self._bias_offset + len(self._bias))

    def _mix(self, x: Tensor, addend: Tensor | None, is_transposed: bool) -> Tensor:
        return channel_mixing.mix_operator(x, self._weights, self._species, addend, self._key, is_transposed)


def _through(g: Tensor, totals: Gradients) -> Gradients:
    """The gradient of an addend is that of the sum."""
    return [g if total is None else total + g for total in totals]


class _SumPasses:
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        return _through(g, totals)

    def tangent(self, one: Tensor | None, other: Tensor | None) -> Tensor | None:
        if one is None or other is None:
            return other if one is None else one
        return one + other

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        return _through(b, totals), []
