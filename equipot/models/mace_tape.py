"""MACE's layers as steps of a tape; see :mod:`equipot.models.tape`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.kernels import EdgeIndex
from equipot.kernels.tape import Convolution, Mixing, ProductBasis, RadialTable, SpeciesRows
from equipot.models import tape

if TYPE_CHECKING:
    from equipot.models.architecture import Edges
    from equipot.models.mace import MACE, MACELayer


def energy_and_gradient(model: MACE, species: Tensor, edges: Edges, seed: Tensor) -> tuple[Tensor, Tensor] | None:
    """See :mod:`equipot.models.tape`; None also without splines, and with density normalization."""
    options = model.options
    if options.radial != "spline" or options.cutoff_on != "basis" or options.density_normalization:
        return None

    def build(species: Tensor, index: EdgeIndex, num_species: int, parameters: Iterator[Tensor]) -> list[tape.Stage]:
        stages = []
        for layer, readout in zip(model.layers, model.readouts):
            step = _Layer(layer, species, num_species, index, parameters)
            irreps = str(layer.linear_out.layout_out)
            stages.append((step, tape.Readout(irreps, parameters, len(readout.weights))))
        return stages

    return tape.energy_and_gradient(model, build, _parameters(model), species, edges, seed)


def _parameters(model: MACE) -> Iterator[Tensor]:
    """In the order the steps take them."""
    yield model.embedding
    for layer, readout in zip(model.layers, model.readouts):
        for linear in (layer.message.linear_up, layer.linear, layer.skip, layer.linear_out):
            yield from (getattr(linear, name) for name in linear.fan_in)
        yield from layer.product.weights
        yield from layer.message.radial_network.weights
        yield from readout.weights


class _Layer:
    """linear_out(product(linear(convolution(up(x))))) + skip(x); or without the sum, and skip before the product."""

    def __init__(
        self, layer: MACELayer, species: Tensor, num_species: int, edges: EdgeIndex, parameters: Iterator[Tensor]
    ) -> None:
        message = layer.message
        self._is_first, self._residual = layer.is_first, layer.residual
        self._rows = SpeciesRows(species, num_species)
        # The features of the first layer are a table by species, which its linear maps act on.
        rows = torch.arange(num_species) if layer.is_first and layer.residual else species
        self.up, self.linear = Mixing.of(message.linear_up, parameters), Mixing.of(layer.linear, parameters)
        self.skip = Mixing.of(layer.skip, parameters, rows)
        self.linear_out = Mixing.of(layer.linear_out, parameters)
        self.product = ProductBasis(layer.product.plan, [next(parameters) for _ in layer.product.weights], species)
        self.table = RadialTable([next(parameters) for _ in message.radial_network.weights], 1 / message.norm)
        self.convolution = Convolution(message.convolution, edges, layer.is_first)

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, knot: Tensor, embedded: Tensor) -> Tensor:
        up = self._rows.forward(self.up.forward(x)) if self._is_first else self.up.forward(x)
        density = self.linear.forward(
            self.convolution.forward(up, harmonics, basis, knot, self.table.forward(embedded))
        )
        if not self._residual:
            return self.linear_out.forward(self.product.forward(self.skip.forward(density)))
        product = self.product.forward(density)
        if self._is_first:
            return self.linear_out.forward(product, self._rows.forward(self.skip.forward(x)))
        return self.skip.forward(x, self.linear_out.forward(product))

    def backward(self, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        g_density = self.product.backward(self.linear_out.backward(g))
        g_density = g_density if self._residual else self.skip.backward(g_density)
        g_up, g_harmonics, g_basis = self.convolution.backward(self.linear.backward(g_density))
        if self._is_first:
            return None, g_harmonics, g_basis
        g_features = self.up.backward(g_up)
        return self.skip.backward(g, g_features), g_harmonics, g_basis

    def tangent(self, h: Tensor | None, h_harmonics: Tensor, h_basis: Tensor) -> Tensor:
        h_up = None if h is None else self.up.tangent(h)
        density = self.linear.tangent(self.convolution.tangent(h_up, h_harmonics, h_basis))
        density = density if self._residual else self.skip.tangent(density)
        moved = self.linear_out.tangent(self.product.tangent(density))
        return moved if h is None else self.skip.tangent(h, moved)

    def adjoint(self, b: Tensor, wants_embedded: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        b_density, of_product = self.product.adjoint(self.linear_out.adjoint(b))
        of_linear_out = self.linear_out.parameter_adjoint(b)
        if not self._residual:
            of_skip, b_density = self.skip.parameter_adjoint(b_density), self.skip.adjoint(b_density)
        b_up, b_table = self.convolution.adjoint(self.linear.adjoint(b_density))
        of_linear = self.linear.parameter_adjoint(b_density)
        b_up = self._rows.adjoint(b_up) if self._is_first else b_up
        b_features, of_up = self.up.adjoint(b_up), self.up.parameter_adjoint(b_up)
        if self._residual:
            b = self._rows.adjoint(b) if self._is_first else b
            of_skip, b_features = self.skip.parameter_adjoint(b), self.skip.adjoint(b, b_features)
        b_embedded, of_table = self.table.adjoint(b_table, wants_embedded)
        return b_features, b_embedded, [*of_up, *of_linear, *of_skip, *of_linear_out, *of_product, *of_table]
