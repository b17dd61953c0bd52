"""The convolution over neighbours, with the radial network that makes its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from equipot.kernels import ConvolutionPlan
from equipot.kernels.document import LinearBlock
from equipot.kernels.native import convolution
from equipot.kernels.native.convolution_plan import is_native
from equipot.kernels.native.join import join
from equipot.kernels.native.radial_table import radial_table, radial_table_backward
from equipot.kernels.plans import Path
from equipot.models.steps.base import (
    Batch,
    Gradients,
    Lowering,
    Operation,
    Step,
    TapedBatch,
    TapedEdges,
    Value,
    plus,
)
from equipot.models.steps.mix import Mix, matrices_of
from equipot.models.steps.species import RowsPasses
from equipot.nn import Message, SpeciesLinear
from equipot.nn.radial_tables import compress


class Convolve(Step):
    """``message(x)``, summed over neighbours; x may be a table, the features then being constants of the species."""

    begins_stage = True

    def __init__(self, message: Message, x: Value) -> None:
        self.message = message
        self.inputs = (x,)
        self.output = Value(message.layout_out)

    def parameters(self) -> list[Tensor]:
        return list(self.message.radial_network.weights)

    def reference(self, batch: Batch, x: Tensor) -> Tensor:
        if self.inputs[0].is_table:
            x = x.index_select(0, batch.species)
        return self.message(x, batch.edges, constant_features=self.inputs[0].is_constant)

    # --- training

    def why_not_taped(self) -> str | None:
        message = self.message
        if not message.is_spline:
            return "radial networks that run on every edge (radial: mlp)"
        if message.density_network is not None:
            return "normalisation by a learned density"
        return None if message.convolution.is_native else "harmonics or features of such high order"

    def passes(self, batch: TapedBatch, parameters: Sequence[Tensor]) -> _ConvolvePasses:
        rows = RowsPasses(batch) if self.inputs[0].is_table else None
        table = _RadialTable(parameters, 1 / self.message.norm)
        constant = self.inputs[0].is_constant
        return _ConvolvePasses(self.message.convolution.key, batch.edges, table, rows, constant)

    # --- the engine

    def why_not_lowered(self) -> str | None:
        if is_native(self.message.convolution.plan):
            return None
        return "loops for harmonics or features of such high order"

    def lower(self) -> Iterator[Operation]:
        """The convolution together with the one linear map that takes its result, where there is just one."""

        def convolve(lowering: Lowering) -> None:
            mix = self._only_user(lowering, self.output)
            if mix is not None and mix.inputs[0] is not self.output:
                mix = None
            output = self.output if mix is None else mix.output
            if self.inputs[0].is_table:
                mixing = None if mix is None or len(mix.inputs) > 1 else self._only_user(lowering, mix.output)
                if mixing is not None and not (isinstance(mixing.linear, SpeciesLinear) and len(mixing.inputs) == 1):
                    mixing = None
                output = output if mixing is None else mixing.output
                self._first(lowering, mix, mixing, lowering.buffer(output))
            else:
                mixing = None
                self._later(lowering, mix, lowering.buffer(output))
            for step in (mix, mixing):
                if step is not None:
                    step.lower_bias(lowering)
                    lowering.take(step)

        yield self.inputs, convolve

    def _only_user(self, lowering: Lowering, value: Value) -> Mix | None:
        users = lowering.users(value)
        return users[0] if len(users) == 1 and isinstance(users[0], Mix) and users[0].inputs[0] is value else None

    def _first(self, lowering: Lowering, mix: Mix | None, mixing: Mix | None, output: int) -> None:
        """output += mixing(mix(message)) of constant features, and begin the first stage with it.

        Embedding, linear maps and the mixing of the radial functions fold into one matrix per species of the neighbour.
        """
        document, plan = lowering.document, self.message.convolution.plan
        sent = lowering.constant(self.inputs[0])
        table = lowering.tables.weights(self.message)
        columns = [range(offset, offset + width) for offset, width in zip(plan.weight_offsets, plan.path_channels)]
        # Columns count as much as the features they multiply, so that the tolerance is one of the messages.
        size = torch.cat([sent[:, _channels_in(plan, path)].square().mean(0).sqrt() for path in plan.paths])
        size = size.clamp(min=1e-30)
        functions, radial = compress(table * size, lowering.tolerance, document.lanes)
        radial = radial / size
        num_species, width = len(lowering.species), functions.shape[1]
        l_max = max(path.l2 for path in plan.paths)
        num_harmonics = (l_max + 1) ** 2
        sums = document.buffer(num_species * num_harmonics * width)
        target, finish = self._with_density(lowering, output)
        document.embedding(sums, l_max, functions, *finish.arguments)
        blocks = []
        for path, part in zip(plan.paths, columns):
            found = self._matrices(lowering, path.output, mix)
            if found is None:
                continue
            matrices, offset = found
            rows = slice(path.channel_offset, path.channel_offset + len(part))
            factor = _diagonal(plan.coefficients(path))
            mixed = self._matrices(lowering, path.output, mixing) if mixing is not None else None
            for z in range(num_species):
                # Radial functions -> channels of this path -> linear map (-> mixing by the centre's species).
                sets = (factor * radial[:, part] * sent[z, _channels_in(plan, path)]) @ matrices[:, rows]
                sets = sets if mixed is None else sets @ mixed[0]
                start = z * num_harmonics * width + path.l2**2 * width
                blocks.append(LinearBlock(2 * path.l2 + 1, start, offset, sets))
        document.linear(sums, target, blocks)
        finish()

    def _later(self, lowering: Lowering, mix: Mix | None, output: int) -> None:
        """output += mix(message), and begin a stage with it."""
        document, plan = lowering.document, self.message.convolution.plan
        summed = document.buffer(plan.output.dim)
        target, finish = self._with_density(lowering, output)
        weights = lowering.tables.weights(self.message)
        document.convolution(plan, lowering.buffer(self.inputs[0]), summed, weights, *finish.arguments)
        blocks = []
        for k, (block, offset) in enumerate(zip(plan.output.blocks, plan.output.offsets)):
            found = self._matrices(lowering, k, mix)
            if found is not None:
                blocks.append(LinearBlock(block.components, offset, found[1], found[0]))
        document.linear(summed, target, blocks)
        finish()

    def _matrices(self, lowering: Lowering, k: int, mix: Mix | None) -> tuple[Tensor, int] | None:
        """What block k of the message goes through, (1 or S, in, out), and the offset it goes to; None: nowhere."""
        layout = self.message.convolution.plan.output
        if mix is None:
            return torch.eye(layout.blocks[k].channels, dtype=torch.float64).unsqueeze(0), layout.offsets[k]
        return matrices_of(mix.linear, layout.blocks[k], lowering.species)

    def _with_density(self, lowering: Lowering, output: int) -> tuple[int, _Finish]:
        """Where the message goes instead of ``output``, and what brings it there: a linear map leaves the scale be."""
        document, table = lowering.document, lowering.tables.density(self.message)
        if table is None:
            return output, _Finish((), None)
        unscaled, density = document.buffer(document.dims[output]), document.buffer(1)
        return unscaled, _Finish((density, table), lambda: document.density_scale(unscaled, density, output))


class _Finish:
    """What a message's convolution gets besides its table, and what is done to the message at the end."""

    def __init__(self, arguments: tuple, operation: Callable[[], None] | None) -> None:
        self.arguments, self._operation = arguments, operation

    def __call__(self) -> None:
        if self._operation is not None:
            self._operation()


def _channels_in(plan: ConvolutionPlan, path: Path) -> slice:
    """The columns of the features that a path of constant, and so scalar, features takes."""
    offset, block = plan.input.offsets[path.input], plan.input.blocks[path.input]
    return slice(offset, offset + block.channels)


def _diagonal(coefficients: Tensor) -> float:
    """The factor of a coupling of a scalar with a harmonic to the same order, a multiple of the identity."""
    matrix = coefficients[0]
    factor = float(matrix[0, 0])
    if not torch.allclose(matrix, factor * torch.eye(len(matrix), dtype=matrix.dtype), atol=1e-12):
        raise ValueError("the coupling of a scalar with a harmonic is not a multiple of the identity")
    return factor


class _RadialTable:
    """A radial network at the knots, as the table of a spline; a function of parameters alone."""

    def __init__(self, weights: Sequence[Tensor], scale: float) -> None:
        self._sizes = [len(weight) for weight in weights] + [weights[-1].shape[1]]
        self._shapes = [weight.shape for weight in weights]
        self._weights, self._scale = join(1, weights), scale

    def forward(self, embedding: Tensor) -> Tensor:
        self._embedding = embedding
        return radial_table(embedding, self._weights, self._sizes, self._scale)

    def adjoint(self, b_table: Tensor, wants_embedding: bool) -> tuple[Tensor | None, list[Tensor]]:
        """dL/d(embedding), or None, and dL/d(matrices) in their shapes."""
        embedding, flat = radial_table_backward(
            self._embedding, self._weights, b_table, self._sizes, self._scale, wants_embedding
        )
        parts = flat.split([shape.numel() for shape in self._shapes], dim=1)
        return embedding if wants_embedding else None, [part.view(shape) for part, shape in zip(parts, self._shapes)]


class _ConvolvePasses:
    """The convolution over edges with splines for weights.

    Args:
        key: of the plan.
        edges: of the batch.
        table: the radial functions.
        rows: of the features, where they are a table.
        constant: no edge vector enters the features.
    """

    def __init__(
        self, key: str, edges: TapedEdges, table: _RadialTable, rows: RowsPasses | None, constant: bool
    ) -> None:
        self._edges, self._index, self._key = edges, tuple(edges.index), key
        self._table, self._rows, self._constant = table, rows, constant

    def forward(self, x: Tensor) -> Tensor:
        edges = self._edges
        x = x if self._rows is None else self._rows.forward(x)
        self._inputs = (x, edges.harmonics, edges.basis, edges.knot, self._table.forward(edges.embedded))
        return convolution.convolution_operator(*self._inputs, *self._index, self._key, self._constant)

    def backward(self, g: Tensor, totals: Gradients) -> Gradients:
        self._g, edges = g, self._edges
        gx, g_harmonics, g_basis, _ = convolution.convolution_backward_operator(
            *self._inputs, g, *self._index, self._key, self._constant, not self._constant, True, True, False
        )
        # The sums are this tape's own.
        edges.g_harmonics = g_harmonics if edges.g_harmonics is None else edges.g_harmonics.add_(g_harmonics)
        edges.g_basis = g_basis if edges.g_basis is None else edges.g_basis.add_(g_basis)
        return totals if self._constant else [plus(totals[0], gx)]

    def tangent(self, h: Tensor | None) -> Tensor:
        self._h = (h, self._edges.h_harmonics, self._edges.h_basis)
        return convolution.convolution_tangent(self._inputs, *self._h, self._index, self._key)

    def adjoint(self, b: Tensor, totals: Gradients) -> tuple[Gradients, list[Tensor]]:
        edges = self._edges
        bx, b_table = convolution.convolution_adjoint(self._inputs, self._g, self._h, b, self._index, self._key)
        embedded, gradients = self._table.adjoint(b_table, edges.wants_embedded)
        edges.b_embedded = plus(edges.b_embedded, embedded)
        return [plus(totals[0], bx) if self._rows is None else self._rows.scatter(bx, totals[0])], gradients
