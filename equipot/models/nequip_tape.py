"""NequIP's energy and its gradient in the edge vectors as one operation, differentiable in the parameters.

The same function as ``NequIP.forward`` with autograd, from the same native kernels; what is saved is autograd's graph,
which costs a small model more time than its arithmetic does. See :mod:`equipot.kernels.tape` for the four passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels import EdgeIndex, is_eager, uses_native
from equipot.kernels.tape import Convolution, Gate, Geometry, Mixing, RadialTable, can_tape
from equipot.nn import SpeciesLinear

if TYPE_CHECKING:
    from equipot.models.architecture import Edges
    from equipot.models.nequip import NequIP, NequIPLayer


def energy_and_gradient(model: NequIP, species: Tensor, edges: Edges, seed: Tensor) -> tuple[Tensor, Tensor] | None:
    """Node energies (N,) float64 and d(seed . energies) / d vector (E, 3) float64.

    Differentiable once, in the parameters and the seed (N,) float64, and not in the edge vectors. None where the model
    has something the tape has not: without native kernels or splines, with biases or solid harmonics.
    """
    vector = edges.exact_vector.detach().to(edges.dtype)
    options = model.options
    if (options.radial != "spline" or options.solid_harmonics or options.scalar_bias or not uses_native(vector)
            or not is_eager(vector)
            or not can_tape(model.edges.geometry, [layer.message.convolution for layer in model.layers])):
        return None
    embedded, _ = model.edges.at_knots(model.radial, vector)
    return _EnergyAndGradient.apply(model, species, edges.index, vector, seed, embedded, *_parameters(model))


def _parameters(model: NequIP) -> Iterator[Tensor]:
    """In the order :class:`_Tape` takes them."""
    yield model.embedding
    for layer in model.layers:
        for linear in (layer.message.linear_up, layer.linear, layer.self_connection):
            yield from (getattr(linear, name) for name in linear.fan_in)
        yield from layer.message.radial_network.weights
    yield from model.readout.weights


class _Layer:
    """gate(linear(convolution(up(x))) + self_connection(x)) of one layer."""

    def __init__(self, layer: NequIPLayer, species: Tensor, num_species: int, edges: EdgeIndex,
                 parameters: Iterator[Tensor]) -> None:
        message = layer.message
        self._is_first, self._species, self._num_species = layer.is_first, species, num_species
        # The features of the first layer are a table by species, which its linear maps act on.
        rows = torch.arange(num_species) if layer.is_first else species

        def mixing(linear: Any, by: Tensor | None = None) -> Mixing:
            return Mixing(linear.mixing.plan.key, [next(parameters) for _ in linear.fan_in], by)

        self.up, self.linear = mixing(message.linear_up), mixing(layer.linear)
        by_species = isinstance(layer.self_connection, SpeciesLinear)
        self.connection = mixing(layer.self_connection, rows if by_species else None)
        self.gate = Gate(layer.gate.activation.plan.key)
        self.table = RadialTable([next(parameters) for _ in message.radial_network.weights], 1 / message.norm)
        self.convolution = Convolution(message.convolution, edges, layer.is_first)

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, knot: Tensor, embedded: Tensor) -> Tensor:
        up = self._of_atoms(self.up.forward(x)) if self._is_first else self.up.forward(x)
        message = self.convolution.forward(up, harmonics, basis, knot, self.table.forward(embedded))
        if self._is_first:
            return self.gate.forward(self.linear.forward(message, self._of_atoms(self.connection.forward(x))))
        return self.gate.forward(self.connection.forward(x, self.linear.forward(message)))

    def backward(self, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """From dE/d(output) to that of the features (None in the first layer), harmonics and basis."""
        g = self.gate.backward(g)
        g_up, g_harmonics, g_basis = self.convolution.backward(self.linear.backward(g))
        if self._is_first:
            return None, g_harmonics, g_basis
        return self.connection.backward(g, self.up.backward(g_up)), g_harmonics, g_basis

    def tangent(self, h: Tensor | None, h_harmonics: Tensor, h_basis: Tensor) -> Tensor:
        h_up = None if h is None else self.up.tangent(h)
        mixed = self.linear.tangent(self.convolution.tangent(h_up, h_harmonics, h_basis))
        return self.gate.tangent(mixed if h is None else self.connection.tangent(h, mixed))

    def adjoint(self, b: Tensor, wants_embedded: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """From dL/d(output) to that of the features, the knots' embedding and the parameters."""
        b = self.gate.adjoint(b)
        b_up, b_table = self.convolution.adjoint(self.linear.adjoint(b))
        of_linear = self.linear.parameter_adjoint(b)
        if self._is_first:
            b, b_up = self._of_species(b), self._of_species(b_up)
        of_up, of_connection = self.up.parameter_adjoint(b_up), self.connection.parameter_adjoint(b)
        b_embedded, of_table = self.table.adjoint(b_table, wants_embedded)
        b_features = self.connection.adjoint(b, self.up.adjoint(b_up))
        return b_features, b_embedded, [*of_up, *of_linear, *of_connection, *of_table]

    def _of_atoms(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self._species)

    def _of_species(self, rows: Tensor) -> Tensor:
        """The transpose of :meth:`_of_atoms`."""
        return rows.new_zeros(self._num_species, rows.shape[1]).index_add_(0, self._species, rows)


class _Readout:
    """The perceptron that ends in energies."""

    def __init__(self, parameters: Iterator[Tensor]) -> None:
        self._steps: list[Mixing | Gate] = []
        for matrix in parameters:
            if self._steps:
                self._steps.append(Gate(f"{len(matrix)}x0e"))
            self._steps.append(Mixing(f"{matrix.shape[0]}x0e > {matrix.shape[1]}x0e", [matrix]))

    def forward(self, x: Tensor) -> Tensor:
        for step in self._steps:
            x = step.forward(x)
        return x

    def backward(self, g: Tensor) -> Tensor:
        for step in reversed(self._steps):
            g = step.backward(g)
        return g

    def tangent(self, h: Tensor) -> Tensor:
        for step in self._steps:
            h = step.tangent(h)
        return h

    def adjoint(self, b: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of the features, and of the matrices."""
        gradients: list[Tensor] = []
        for step in reversed(self._steps):
            if isinstance(step, Mixing):
                gradients = [*step.parameter_adjoint(b), *gradients]
            b = step.adjoint(b)
        return b, gradients


class _Tape:
    """All steps of a model for one batch."""

    def __init__(self, model: NequIP, species: Tensor, edges: EdgeIndex, parameters: tuple[Tensor, ...]) -> None:
        remaining = iter(parameters)
        self._embedding = next(remaining)
        self._geometry = Geometry(model.edges.geometry)
        num_species = len(self._embedding)
        self._layers = [_Layer(layer, species, num_species, edges, remaining) for layer in model.layers]
        self._readout = _Readout(remaining)

    def forward(self, vector: Tensor, embedded: Tensor) -> Tensor:
        """Energies (N, 1)."""
        harmonics, basis, knot = self._geometry.forward(vector)
        x = self._embedding
        for layer in self._layers:
            x = layer.forward(x, harmonics, basis, knot, embedded)
        return self._readout.forward(x)

    def backward(self, seed: Tensor) -> Tensor:
        """d(seed . energies) / d vector (E, 3)."""
        g, g_harmonics, g_basis = self._readout.backward(seed), None, None
        for layer in reversed(self._layers):
            g, harmonics, basis = layer.backward(g)
            g_harmonics = harmonics if g_harmonics is None else g_harmonics.add_(harmonics)
            g_basis = basis if g_basis is None else g_basis.add_(basis)
        return self._geometry.backward(g_harmonics, g_basis)

    def tangent(self, h_vector: Tensor) -> Tensor:
        """How the energies move along a direction of the edge vectors."""
        h_harmonics, h_basis = self._geometry.tangent(h_vector)
        h = None
        for layer in self._layers:
            h = layer.tangent(h, h_harmonics, h_basis)
        return self._readout.tangent(h)

    def adjoint(self, b_energy: Tensor, wants_embedded: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Of the knots' embedding, and of the parameters in their order."""
        b, gradients = self._readout.adjoint(b_energy)
        b_embedded = None
        for layer in reversed(self._layers):
            b, embedded, own = layer.adjoint(b, wants_embedded)
            gradients = own + gradients
            if wants_embedded:
                b_embedded = embedded if b_embedded is None else b_embedded + embedded
        return b_embedded, [b, *gradients]


class _EnergyAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: NequIP, species: Tensor, edges: EdgeIndex, vector: Tensor, seed: Tensor,
                embedded: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        ctx.tape = _Tape(model, species, edges, parameters)
        # The tape works on these tensors: autograd makes sure that nobody writes to them before the backward pass.
        ctx.save_for_backward(embedded, *parameters)
        energy = ctx.tape.forward(vector, embedded).squeeze(1)
        gradient = ctx.tape.backward(seed.to(energy.dtype).unsqueeze(1))
        return energy.to(torch.float64), gradient

    @staticmethod
    def backward(ctx: Any, b_energy: Tensor, h_gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UsageError("The native kernels have no third derivative: a loss on forces can be differentiated once "
                             "(create_graph=True asks for more). Use the reference kernels.")
        _ = ctx.saved_tensors  # raises where one was written to
        moved = ctx.tape.tangent(h_gradient)
        b_embedded, gradients = ctx.tape.adjoint(b_energy.to(moved.dtype).unsqueeze(1), ctx.needs_input_grad[5])
        b_seed = moved.squeeze(1).to(torch.float64) if ctx.needs_input_grad[4] else None
        return None, None, None, None, b_seed, b_embedded, *gradients
