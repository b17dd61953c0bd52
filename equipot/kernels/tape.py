"""Native operations whose second derivatives are taken by hand: the steps an energy's training gradient is made of.

For an energy ``e`` that depends on edge vectors and parameters, four passes through the same steps give everything a
training step needs, without autograd's graph:

1. ``forward``: values;
2. ``backward``: from ``g``, dE/d(output), to dE/d(input), down to the edge vectors;
3. ``tangent``: from ``h``, how an input moves along a direction of the edge vectors, to how the output does. The
   direction is dL/d(dE/d vector), so that the energy's tangent is what the loss sees of the forces;
4. ``adjoint``: from ``b``, dL/d(output), to dL/d(input) and the gradients of parameters. Of the tangents' own adjoints
   nothing need be computed: they are the ``g`` of the second pass.

Each step keeps what later passes need of earlier ones. A tangent None is zero: of what no edge vector enters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from equipot.kernels.convolution import SplineConvolution
from equipot.kernels.edge_index import EdgeIndex
from equipot.kernels.geometry import EdgeGeometry
from equipot.kernels.native import channel_mixing, convolution, gate, geometry, product_basis
from equipot.kernels.native.join import join
from equipot.kernels.native.radial_table import radial_table, radial_table_backward
from equipot.kernels.plans import ProductBasisPlan


def can_tape(edges: EdgeGeometry, convolutions: Sequence[SplineConvolution]) -> bool:
    """Whether the kernels of the steps serve these orders."""
    return edges.l_max <= geometry.MAX_L and all(each.is_native for each in convolutions)


class Geometry:
    """Edge vectors -> harmonics and spline basis; in float64 outside, in the network's dtype inside."""

    def __init__(self, module: EdgeGeometry) -> None:
        self._settings = (module.l_max, module.cutoff, module.num_intervals)

    def forward(self, vector: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Harmonics, basis and knots."""
        self._vector = vector
        return geometry.edge_geometry(vector, *self._settings)

    def backward(self, g_harmonics: Tensor, g_basis: Tensor) -> Tensor:
        """dE/d vector (E, 3) float64."""
        self._g = (g_harmonics, g_basis)
        return geometry.edge_geometry_backward(self._vector, *self._g, *self._settings).to(torch.float64)

    def tangent(self, h_vector: Tensor) -> tuple[Tensor, Tensor]:
        """Of harmonics and basis."""
        return geometry.edge_geometry_double_backward(
            self._vector, *self._g, h_vector.to(self._vector.dtype), *self._settings, False
        )[:2]


class Mixing:
    """Channel mixing with matrices that are parameters.

    Args:
        key: of the plan.
        weights: its matrices, or with ``species`` (N,) stacks of them.
    """

    def __init__(self, key: str, weights: Sequence[Tensor], species: Tensor | None = None) -> None:
        self._key, self._species = key, species
        self._shapes = [weight.shape for weight in weights]
        self._num_sets = 1 if species is None else len(weights[0])
        self._weights = join(self._num_sets, weights)
        self._g = self._h = None

    @classmethod
    def of(cls, linear: Any, parameters: Iterator[Tensor], species: Tensor | None = None) -> Mixing:
        """What an IrrepsLinear or SpeciesLinear does, with the next of ``parameters`` for its matrices."""
        return cls(linear.mixing.plan.key, [next(parameters) for _ in linear.fan_in], species)

    def forward(self, x: Tensor, addend: Tensor | None = None) -> Tensor:
        self._x = x
        return self._mix(x, addend, False)

    def backward(self, g: Tensor, addend: Tensor | None = None) -> Tensor:
        self._g = g
        return self._mix(g, addend, True)

    def tangent(self, h: Tensor, addend: Tensor | None = None) -> Tensor:
        self._h = h
        return self._mix(h, addend, False)

    def adjoint(self, b: Tensor, addend: Tensor | None = None) -> Tensor:
        """Of the input."""
        return self._mix(b, addend, True)

    def parameter_adjoint(self, b: Tensor) -> list[Tensor]:
        """Of the matrices, in their shapes; after the tangents and the backward pass."""
        second = (None, None) if self._h is None else (self._h, self._g)
        flat = channel_mixing.sum_of_outers(self._x, b, *second, self._species, self._key, self._num_sets)
        parts = flat.split([shape.numel() // self._num_sets for shape in self._shapes], dim=1)
        return [part.view(shape) for part, shape in zip(parts, self._shapes)]

    def _mix(self, x: Tensor, addend: Tensor | None, is_transposed: bool) -> Tensor:
        return channel_mixing.mix_operator(x, self._weights, self._species, addend, self._key, is_transposed)


class Gate:
    """The gate nonlinearity of a plan, by its key."""

    def __init__(self, key: str) -> None:
        self._key = key

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return gate.gate_operator(x, self._key)

    def backward(self, g: Tensor) -> Tensor:
        self._g = g
        return gate.gate_backward_operator(g, self._x, self._key)

    def tangent(self, h: Tensor) -> Tensor:
        self._h = h
        return gate.gate_tangent(self._x, h, self._key)

    def adjoint(self, b: Tensor) -> Tensor:
        """Of the input."""
        return gate.gate_adjoint(self._g, self._x, self._h, b, self._key)


class ProductBasis:
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

    def forward(self, x: Tensor) -> Tensor:
        self._x = self._stack(x)
        return product_basis.product_basis_operator(self._x, *self._fixed).flatten(1)

    def backward(self, g: Tensor) -> Tensor:
        self._g = self._stack(g)
        return product_basis.product_basis_backward_operator(self._g, self._x, *self._fixed, True, False)[0].flatten(1)

    def tangent(self, h: Tensor) -> Tensor:
        self._h = self._stack(h)
        return product_basis.product_basis_tangent(self._x, self._h, *self._fixed).flatten(1)

    def adjoint(self, b: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of the input, and of the weights of each term."""
        bx, weights = product_basis.product_basis_adjoint(self._x, self._g, self._h, self._stack(b), *self._fixed)
        return bx.flatten(1), list(weights.split(self._sizes, dim=1))

    def _stack(self, flat: Tensor) -> Tensor:
        return flat.unflatten(1, (-1, self._channels))


class SpeciesRows:
    """The row of its species for each atom, of a table by species."""

    def __init__(self, species: Tensor, num_species: int) -> None:
        self._species, self._num_species = species, num_species

    def forward(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self._species)

    def adjoint(self, b: Tensor) -> Tensor:
        return b.new_zeros(self._num_species, b.shape[1]).index_add_(0, self._species, b)


class RadialTable:
    """A radial network at the knots, as the table of a spline; a function of parameters alone."""

    def __init__(self, weights: Sequence[Tensor], scale: float) -> None:
        self._sizes = [len(weight) for weight in weights] + [weights[-1].shape[1]]
        self._shapes = [weight.shape for weight in weights]
        self._weights, self._scale = join(1, weights), scale

    def forward(self, embedding: Tensor) -> Tensor:
        self._embedding = embedding
        return radial_table(embedding, self._weights, self._sizes, self._scale)

    def adjoint(self, b_table: Tensor, wants_embedding: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Of the embedding, or None, and of the matrices in their shapes."""
        embedding, flat = radial_table_backward(
            self._embedding, self._weights, b_table, self._sizes, self._scale, wants_embedding
        )
        parts = flat.split([shape.numel() for shape in self._shapes], dim=1)
        return embedding if wants_embedding else None, [part.view(shape) for part, shape in zip(parts, self._shapes)]


class Convolution:
    """The convolution over edges with splines for weights.

    Args:
        module: of the model.
        edges: of the batch.
        constant_features: no edge vector enters the features.
    """

    def __init__(self, module: SplineConvolution, edges: EdgeIndex, constant_features: bool) -> None:
        self._edges, self._key, self._constant_features = tuple(edges), module.key, constant_features

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, knot: Tensor, table: Tensor) -> Tensor:
        self._inputs = (x, harmonics, basis, knot, table)
        return convolution.convolution_operator(*self._inputs, *self._edges, self._key, self._constant_features)

    def backward(self, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """dE/d features (None for constant ones), harmonics and basis."""
        self._g = g
        wanted = (not self._constant_features, True, True, False)
        gx, g_harmonics, g_basis, _ = convolution.convolution_backward_operator(
            *self._inputs, g, *self._edges, self._key, self._constant_features, *wanted
        )
        return None if self._constant_features else gx, g_harmonics, g_basis

    def tangent(self, hx: Tensor | None, h_harmonics: Tensor, h_basis: Tensor) -> Tensor:
        self._h = (hx, h_harmonics, h_basis)
        return convolution.convolution_tangent(self._inputs, *self._h, self._edges, self._key)

    def adjoint(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """Of the features and of the table."""
        return convolution.convolution_adjoint(self._inputs, self._g, self._h, b, self._edges, self._key)
