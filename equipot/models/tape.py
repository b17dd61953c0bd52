"""A model's energy and its gradient in the edge vectors as one operation whose derivative is taken by hand.

Training needs the gradient of a loss on energies and on their gradient. For an energy ``e`` that depends on edge
vectors and parameters, four passes through the steps of a model give all of it, without autograd's graph:

1. ``forward``: values;
2. ``backward``: from ``g``, dE/d(output), to dE/d(input), down to the edge vectors (a VJP);
3. ``tangent``: from ``h``, how an input moves along a direction of the edge vectors, to how the output does (a JVP).
   The direction is dL/d(dE/d vector), so that the energy's tangent is what the loss sees of the forces;
4. ``adjoint``: from ``b``, dL/d(output), to dL/d(input) and the gradients of the parameters (reverse over forward). The
   tangents' own adjoints need not be computed: they are the ``g`` of the second pass.

Each step keeps what later passes need of earlier ones. A tangent None is zero: no edge vector enters.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels import EdgeGeometry, EdgeIndex, is_eager, uses_native
from equipot.kernels.native import geometry
from equipot.models.architecture import Edges
from equipot.models.steps import TapedBatch, TapedEdges, Value
from equipot.models.wiring import Wiring
from equipot.nn import AnyRadialEmbedding, EdgeEmbedding


def why_not_taped(module: EdgeGeometry) -> str | None:
    """Why the tape does not serve the geometry of the edges, as the end of a sentence; None: it does."""
    if module.num_intervals is None:
        return "radial networks that run on every edge (radial: mlp)"
    return None if module.l_max <= geometry.MAX_L else "harmonics of such high order"


def energy_and_gradient(
    wiring: Wiring,
    embedding: EdgeEmbedding,
    radial: AnyRadialEmbedding,
    species: Tensor,
    edges: Edges,
    seed: Tensor,
    *,
    num_species: int,
) -> tuple[Tensor, Tensor] | None:
    """Node energies (N,) float64 and d(seed . energies) / d vector (E, 3) float64.

    Differentiable once, in the parameters and the seed (N,) float64, and not in the edge vectors. None where there are
    no native kernels for these tensors.

    Args:
        wiring: of a model whose steps all have passes.
        embedding, radial: of the model's edges.
        species, edges, seed: of the batch.
        num_species: rows of the model's tables.
    """
    vector = edges.exact_vector.detach().to(edges.dtype)
    if not (uses_native(vector) and is_eager(vector)):
        return None
    embedded, _ = embedding.at_knots(radial, vector)
    parameters = [tensor for step in wiring.steps for tensor in step.parameters()]
    make = (wiring, embedding.geometry, species, num_species, edges.index)
    return _EnergyAndGradient.apply(make, vector, seed, embedded, *parameters)


class _Geometry:
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
        """Tangents of harmonics and basis."""
        return geometry.edge_geometry_double_backward(
            self._vector, *self._g, h_vector.to(self._vector.dtype), *self._settings, False
        )[:2]


class _Tape:
    """All steps of a model for one batch."""

    def __init__(
        self,
        wiring: Wiring,
        module: EdgeGeometry,
        species: Tensor,
        num_species: int,
        index: EdgeIndex,
        vector: Tensor,
        embedded: Tensor,
        parameters: tuple[Tensor, ...],
    ) -> None:
        self._geometry = _Geometry(module)
        self._edges = TapedEdges(index, *self._geometry.forward(vector), embedded)
        batch = TapedBatch(species, num_species, self._edges)
        self._energy, self._steps = wiring.energy, []
        at = 0
        for step in wiring.steps:
            count = len(step.parameters())
            self._steps.append((step, step.passes(batch, parameters[at : at + count])))
            at += count

    def forward(self) -> Tensor:
        """Energies (N, 1)."""
        values: dict[Value, Tensor] = {}
        for step, passes in self._steps:
            values[step.output] = passes.forward(*[values[value] for value in step.inputs])
        return values[self._energy]

    def backward(self, seed: Tensor) -> Tensor:
        """d(seed . energies) / d vector (E, 3)."""
        totals: dict[Value, Tensor] = {self._energy: seed}
        for step, passes in reversed(self._steps):
            if step.output.is_constant:
                continue
            g = totals.pop(step.output)
            found = passes.backward(g, [totals.get(value) for value in step.inputs])
            for value, total in zip(step.inputs, found):
                if not value.is_constant:
                    totals[value] = total
        return self._geometry.backward(self._edges.g_harmonics, self._edges.g_basis)

    def tangent(self, h_vector: Tensor) -> Tensor:
        """How the energies (N, 1) move along a direction of the edge vectors."""
        self._edges.h_harmonics, self._edges.h_basis = self._geometry.tangent(h_vector)
        moved: dict[Value, Tensor] = {}
        for step, passes in self._steps:
            if not step.output.is_constant:
                moved[step.output] = passes.tangent(*[moved.get(value) for value in step.inputs])
        return moved[self._energy]

    def adjoint(self, b_energy: Tensor, wants_embedded: bool) -> tuple[Tensor | None, list[Tensor]]:
        """dL/d(embedding of the knots), and dL/d(parameters) in their order."""
        self._edges.wants_embedded = wants_embedded
        totals: dict[Value, Tensor] = {self._energy: b_energy}
        gradients: list[list[Tensor]] = []
        for step, passes in reversed(self._steps):
            found, own = passes.adjoint(totals.pop(step.output), [totals.get(value) for value in step.inputs])
            totals.update(zip(step.inputs, found))
            gradients.append(own)
        return self._edges.b_embedded, [each for own in reversed(gradients) for each in own]


class _EnergyAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, make: tuple, vector: Tensor, seed: Tensor, embedded: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.tape = _Tape(*make, vector, embedded, parameters)
        # The tape works on these tensors: autograd makes sure that nobody writes to them before the backward pass.
        ctx.save_for_backward(embedded, *parameters)
        energy = ctx.tape.forward().squeeze(1)
        gradient = ctx.tape.backward(seed.to(energy.dtype).unsqueeze(1))
        return energy.to(torch.float64), gradient

    @staticmethod
    def backward(ctx: Any, b_energy: Tensor, h_gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise UsageError(
                "The native kernels have no third derivative: a loss on forces can be differentiated once "
                "(create_graph=True asks for more). Use the reference kernels."
            )
        _ = ctx.saved_tensors  # raises where one was written to
        moved = ctx.tape.tangent(h_gradient)
        b_embedded, gradients = ctx.tape.adjoint(b_energy.to(moved.dtype).unsqueeze(1), ctx.needs_input_grad[3])
        b_seed = moved.squeeze(1).to(torch.float64) if ctx.needs_input_grad[2] else None
        return None, None, b_seed, b_embedded, *gradients
