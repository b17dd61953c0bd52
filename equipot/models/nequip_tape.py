"""NequIP's layers as steps of a tape; see :mod:`equipot.models.tape`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.kernels import EdgeIndex
from equipot.kernels.tape import Convolution, Gate, Mixing, RadialTable, SpeciesRows
from equipot.models import tape
from equipot.nn import SpeciesLinear

if TYPE_CHECKING:
    from equipot.models.architecture import Edges
    from equipot.models.nequip import NequIP, NequIPLayer


def energy_and_gradient(model: NequIP, species: Tensor, edges: Edges, seed: Tensor) -> tuple[Tensor, Tensor] | None:
    """See :mod:`equipot.models.tape`; None also without splines, and with biases or solid harmonics."""
    options = model.options
    if options.radial != "spline" or options.solid_harmonics or options.scalar_bias:
        return None

    def build(species: Tensor, index: EdgeIndex, num_species: int, parameters: Iterator[Tensor]) -> list[tape.Stage]:
        layers = [_Layer(layer, species, num_species, index, parameters) for layer in model.layers]
        readout = tape.Readout(f"{options.channels(0)}x0e", parameters, len(model.readout.weights))
        return [*((layer, None) for layer in layers[:-1]), (layers[-1], readout)]

    return tape.energy_and_gradient(model, build, _parameters(model), species, edges, seed)


def _parameters(model: NequIP) -> Iterator[Tensor]:
    """In the order the steps take them."""
    yield model.embedding
    for layer in model.layers:
        for linear in (layer.message.linear_up, layer.linear, layer.self_connection):
            yield from (getattr(linear, name) for name in linear.fan_in)
        yield from layer.message.radial_network.weights
    yield from model.readout.weights


class _Layer:
    """gate(linear(convolution(up(x))) + self_connection(x)) of one layer."""

    def __init__(
        self, layer: NequIPLayer, species: Tensor, num_species: int, edges: EdgeIndex, parameters: Iterator[Tensor]
    ) -> None:
        message = layer.message
        self._is_first, self._rows = layer.is_first, SpeciesRows(species, num_species)
        # The features of the first layer are a table by species, which its linear maps act on.
        rows = torch.arange(num_species) if layer.is_first else species
        self.up, self.linear = Mixing.of(message.linear_up, parameters), Mixing.of(layer.linear, parameters)
        by_species = isinstance(layer.self_connection, SpeciesLinear)
        self.connection = Mixing.of(layer.self_connection, parameters, rows if by_species else None)
        self.gate = Gate(layer.gate.activation.plan.key)
        self.table = RadialTable([next(parameters) for _ in message.radial_network.weights], 1 / message.norm)
        self.convolution = Convolution(message.convolution, edges, layer.is_first)

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, knot: Tensor, embedded: Tensor) -> Tensor:
        up = self._rows.forward(self.up.forward(x)) if self._is_first else self.up.forward(x)
        message = self.convolution.forward(up, harmonics, basis, knot, self.table.forward(embedded))
        if self._is_first:
            return self.gate.forward(self.linear.forward(message, self._rows.forward(self.connection.forward(x))))
        return self.gate.forward(self.connection.forward(x, self.linear.forward(message)))

    def backward(self, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
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
        b = self.gate.adjoint(b)
        b_up, b_table = self.convolution.adjoint(self.linear.adjoint(b))
        of_linear = self.linear.parameter_adjoint(b)
        if self._is_first:
            b, b_up = self._rows.adjoint(b), self._rows.adjoint(b_up)
        of_up, of_connection = self.up.parameter_adjoint(b_up), self.connection.parameter_adjoint(b)
        b_embedded, of_table = self.table.adjoint(b_table, wants_embedded)
        b_features = self.connection.adjoint(b, self.up.adjoint(b_up))
        return b_features, b_embedded, [*of_up, *of_linear, *of_connection, *of_table]
