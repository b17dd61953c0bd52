"""From architectures to documents of the engine: what each layer becomes, with everything constant folded.

The first layer's features are constants of the species, so its embedding, its linear maps and the mixing of its radial
functions fold into one matrix a species of the neighbour. Self-connections are computed where the features they act on
are at hand, one stage ahead of where they are added.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from equipot.engine.document import Document, GateItem, LinearBlock
from equipot.engine.radial import RadialTables, compress
from equipot.kernels import Block
from equipot.kernels.native.convolution_plan import is_native
from equipot.models.mace import MACE, MACELayer
from equipot.models.nequip import NequIP
from equipot.nn import Gate, IrrepsLinear, Message, MultiLayerPerceptron, SpeciesLinear, SymmetricProduct


class Lowering:
    """Adds an architecture's operations to a document.

    Args:
        document: new and empty.
        tables: of the architecture's radial networks.
        species: (S,) the species of the architecture the document is for, in its order.
        tolerance: of :func:`equipot.engine.radial.compress`.
    """

    def __init__(self, document: Document, tables: RadialTables, species: torch.Tensor, tolerance: float) -> None:
        self.document, self.tables, self.species, self.tolerance = document, tables, species, tolerance

    # --- architectures

    def nequip(self, architecture: NequIP) -> None:
        """Message and self-connection, gate, then what the next layer needs of the features."""
        features, up, gated = -1, -1, -1
        for k, layer in enumerate(architecture.layers):
            if k == 0:
                gated = self.document.buffer(layer.gate.layout_in.dim)
                embedding = architecture.embedding[self.species]
                self._first_message(layer.message, embedding, layer.linear, gated)
                self._bias(layer.linear, gated)
                self.document.rows(gated, self._first_connection(layer.self_connection, embedding))
            else:
                self._message(layer.message, up, layer.linear, gated)
                self._bias(layer.linear, gated)
            features = self.document.buffer(layer.layout_out.dim)
            self.document.gate(gated, features, _gate_items(layer.gate))
            if k + 1 < len(architecture.layers):
                following = architecture.layers[k + 1]
                gated = self.document.buffer(following.gate.layout_in.dim)
                up = self._up(following.message, features)
                self._any_linear(following.self_connection, features, gated)
        self._readout(architecture.readout, features)

    def mace(self, architecture: MACE) -> None:
        """Density, products, their mixing with the self-connection, readout, then what the next layer needs."""
        embedding = architecture.embedding[self.species]
        features, up = -1, -1
        for k, layer in enumerate(architecture.layers):
            density = self.document.buffer(layer.linear.layout_out.dim)
            mixing = None if layer.residual else layer.skip
            if k == 0:
                self._first_message(layer.message, embedding, layer.linear, density, mixing)
                features = self.document.buffer(layer.linear_out.layout_out.dim)
                if layer.residual:
                    self.document.rows(features, layer.skip(embedding, self.species))
            else:
                self._message(layer.message, up, layer.linear, density)
            product = self._product(layer.product, density)
            self._linear(layer.linear_out, product, features)
            self._readout(architecture.readouts[k], features)
            if k + 1 < len(architecture.layers):
                features, up = self._next_features(architecture.layers[k + 1], features)

    def _next_features(self, following: MACELayer, features: int) -> tuple[int, int]:
        up = self._up(following.message, features)
        skipped = self.document.buffer(following.skip.layout_out.dim)
        self._species_linear(following.skip, features, skipped)
        return skipped, up

    # --- messages

    def _first_message(
        self,
        message: Message,
        embedding: torch.Tensor,
        linear: IrrepsLinear,
        output: int,
        mixing: SpeciesLinear | None = None,
    ) -> None:
        """output += mixing(linear(message(embedding))), and begin the first stage with it."""
        plan, sent = message.convolution.plan, message.linear_up(embedding)
        table = self.tables.weights(message)
        columns = [range(offset, offset + width) for offset, width in zip(plan.weight_offsets, plan.path_channels)]
        # Columns count as much as the features they multiply, so that the tolerance is one of the messages.
        size = torch.cat([sent.square().mean(0).sqrt()] * len(plan.paths)).clamp(min=1e-30)
        functions, radial = compress(table * size, self.tolerance, self.document.lanes)
        radial = radial / size
        num_species, width = len(self.species), functions.shape[1]
        l_max = max(path.l2 for path in plan.paths)
        num_harmonics = (l_max + 1) ** 2
        sums = self.document.buffer(num_species * num_harmonics * width)
        target, finish = self._with_density(message, output)
        self.document.embedding(sums, l_max, functions, *finish.arguments)
        blocks = []
        for path, part in zip(plan.paths, columns):
            block = plan.output.blocks[path.output]
            found = _target(linear, block)
            if found is None:
                continue
            weight, offset = found
            weight = weight[path.channel_offset : path.channel_offset + len(part)]
            factor = _diagonal(plan.coefficients(path))
            for z in range(num_species):
                # Radial functions -> channels of this path -> linear (-> mixing by the centre's species).
                matrix = (factor * radial[:, part] * sent[z]) @ weight
                matrices = matrix.unsqueeze(0)
                if mixing is not None:
                    matrices = matrix @ _target(mixing, block)[0][self.species]
                start = z * num_harmonics * width + path.l2**2 * width
                blocks.append(LinearBlock(block.components, start, offset, matrices))
        self.document.linear(sums, target, blocks)
        finish()

    def _message(self, message: Message, up: int, linear: IrrepsLinear, output: int) -> None:
        """output += linear(message), and begin a stage with it."""
        plan = message.convolution.plan
        summed = self.document.buffer(plan.output.dim)
        target, finish = self._with_density(message, output)
        self.document.convolution(plan, up, summed, self.tables.weights(message), *finish.arguments)
        self._linear(linear, summed, target)
        finish()

    def _with_density(self, message: Message, output: int) -> tuple[int, _Finish]:
        """Where the message goes instead of ``output``, and what brings it there: a linear map leaves the scale be."""
        table = self.tables.density(message)
        if table is None:
            return output, _Finish((), None)
        unscaled, density = self.document.buffer(self.document.dims[output]), self.document.buffer(1)
        return unscaled, _Finish((density, table), lambda: self.document.density_scale(unscaled, density, output))

    # --- node-wise operations

    def _up(self, message: Message, features: int) -> int:
        up = self.document.buffer(message.linear_up.layout_out.dim)
        self._linear(message.linear_up, features, up)
        self._bias(message.linear_up, up)
        return up

    def _first_connection(self, linear: IrrepsLinear | SpeciesLinear, embedding: torch.Tensor) -> torch.Tensor:
        return linear(embedding, self.species) if isinstance(linear, SpeciesLinear) else linear(embedding)

    def _any_linear(self, linear: IrrepsLinear | SpeciesLinear, input: int, output: int) -> None:
        if isinstance(linear, SpeciesLinear):
            self._species_linear(linear, input, output)
        else:
            self._linear(linear, input, output)

    def _bias(self, linear: IrrepsLinear, output: int) -> None:
        if linear.bias is not None:
            self.document.rows(output, linear.bias_row().expand(len(self.species), -1))

    def _linear(self, linear: IrrepsLinear, input: int, output: int) -> None:
        self._mix(linear, input, output, lambda weight: weight.unsqueeze(0))

    def _species_linear(self, linear: SpeciesLinear, input: int, output: int) -> None:
        self._mix(linear, input, output, lambda weight: weight[self.species])

    def _mix(
        self,
        linear: IrrepsLinear | SpeciesLinear,
        input: int,
        output: int,
        sets: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        blocks = []
        for block, offset in zip(linear.layout_in.blocks, linear.layout_in.offsets):
            found = _target(linear, block)
            if found is not None:
                blocks.append(LinearBlock(block.components, offset, found[1], sets(found[0])))
        self.document.linear(input, output, blocks)

    def _product(self, product: SymmetricProduct, density: int) -> int:
        output = self.document.buffer(product.layout_out.dim)
        weights = torch.cat([weight[self.species] for weight in product.weights], dim=1)
        self.document.product(density, output, product.plan, weights)
        return output

    def _readout(self, readout: MultiLayerPerceptron, features: int) -> None:
        """Scalars are the first block of the features."""
        *hidden, last = readout.weights
        for weight in hidden:
            mixed, activated = self.document.buffer(weight.shape[1]), self.document.buffer(weight.shape[1])
            self.document.linear(features, mixed, [LinearBlock(1, 0, 0, weight.unsqueeze(0))])
            self.document.gate(mixed, activated, [GateItem("silu", 0, 0, 1, weight.shape[1])])
            features = activated
        self.document.readout(features, 0, last[:, 0])


class _Finish:
    """What a message's convolution gets besides its table, and what is done to the message at the end."""

    def __init__(self, arguments: tuple, operation: Callable[[], None] | None) -> None:
        self.arguments, self._operation = arguments, operation

    def __call__(self) -> None:
        if self._operation is not None:
            self._operation()


def lowering_of(architecture: nn.Module) -> Callable[[Lowering], None] | str:
    """How an architecture is lowered, or a sentence that says why it is not."""
    known = {NequIP: Lowering.nequip, MACE: Lowering.mace}.get(type(architecture))
    if known is None:
        return f"The engine does not know the architecture {type(architecture).__name__}."
    if not all(is_native(layer.message.convolution.plan) for layer in architecture.layers):
        return "The engine has no loops for harmonics or features of such high order."
    return lambda lowering: known(lowering, architecture)


def _gate_items(gate: Gate) -> list[GateItem]:
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


def _target(linear: IrrepsLinear | SpeciesLinear, block: Block) -> tuple[torch.Tensor, int] | None:
    """The weight an irrep goes through and the offset it goes to; None where it goes nowhere."""
    k = linear.layout_out.index(*block.irrep)
    return None if k is None else (getattr(linear, f"weight_{k}"), linear.layout_out.offsets[k])


def _diagonal(coefficients: torch.Tensor) -> float:
    """The factor of a coupling of a scalar with a harmonic to the same order, a multiple of the identity."""
    matrix = coefficients[0]
    factor = float(matrix[0, 0])
    if not torch.allclose(matrix, factor * torch.eye(len(matrix), dtype=matrix.dtype), atol=1e-12):
        raise ValueError("the coupling of a scalar with a harmonic is not a multiple of the identity")
    return factor
