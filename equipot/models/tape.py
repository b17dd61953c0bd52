"""A model's energy and its gradient in the edge vectors as one operation, differentiable in the parameters.

The same function as the model's ``forward`` with autograd, from the same native kernels; what is saved is autograd's
graph, which costs a small model more time than its arithmetic does, and a part of the arithmetic of the second
derivatives. See :mod:`equipot.kernels.tape` for the four passes. An architecture says what its layers do; here they are
put one behind the other, each with or without a readout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from equipot.errors import UsageError
from equipot.kernels import EdgeGeometry, EdgeIndex, is_eager, uses_native
from equipot.kernels.tape import Gate, Geometry, Mixing, can_tape

if TYPE_CHECKING:
    from equipot.models.architecture import Edges


class LayerTape(Protocol):
    """The four passes of a layer; features of the first layer are a table by species."""

    def forward(self, x: Tensor, harmonics: Tensor, basis: Tensor, knot: Tensor, embedded: Tensor) -> Tensor:
        """The output from features, edges and the radial embedding of the knots."""

    def backward(self, g: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """From dE/d(output) to that of the features (None in the first layer), harmonics and basis."""

    def tangent(self, h: Tensor | None, h_harmonics: Tensor, h_basis: Tensor) -> Tensor:
        """How the output moves; the features of the first layer do not."""

    def adjoint(self, b: Tensor, wants_embedded: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """From dL/d(output) to that of the features, the knots' embedding and the layer's parameters."""


class Readout:
    """A perceptron from the scalars of features to energies.

    Args:
        irreps: of the features.
        parameters: yields its matrices.
        count: how many they are.
    """

    def __init__(self, irreps: str, parameters: Iterator[Tensor], count: int) -> None:
        self._steps: list[Mixing | Gate] = []
        for k in range(count):
            matrix = next(parameters)
            if k:
                irreps = f"{len(matrix)}x0e"
                self._steps.append(Gate(irreps))
            self._steps.append(Mixing(f"{irreps} > {matrix.shape[1]}x0e", [matrix]))

    def forward(self, x: Tensor, addend: Tensor | None) -> Tensor:
        """Energies (N, 1), plus ``addend``."""
        for step in self._steps[:-1]:
            x = step.forward(x)
        return self._steps[-1].forward(x, addend)

    def backward(self, g: Tensor, addend: Tensor | None) -> Tensor:
        """dE/d features, plus ``addend``."""
        for step in reversed(self._steps[1:]):
            g = step.backward(g)
        return self._steps[0].backward(g, addend)

    def tangent(self, h: Tensor, addend: Tensor | None) -> Tensor:
        """How the energies move, plus ``addend``."""
        for step in self._steps[:-1]:
            h = step.tangent(h)
        return self._steps[-1].tangent(h, addend)

    def adjoint(self, b: Tensor, addend: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Of the features, plus ``addend``, and of the matrices."""
        gradients: list[Tensor] = []
        for step in reversed(self._steps[1:]):
            if isinstance(step, Mixing):
                gradients = [*step.parameter_adjoint(b), *gradients]
            b = step.adjoint(b)
        return self._steps[0].adjoint(b, addend), [*self._steps[0].parameter_adjoint(b), *gradients]


#: A layer and what reads energies from its output, or None.
Stage = tuple[LayerTape, Readout | None]
#: From species (N,), edges, number of species and the layers' parameters to the stages; the last has a readout.
Builder = Callable[[Tensor, EdgeIndex, int, Iterator[Tensor]], Sequence[Stage]]


def energy_and_gradient(
    model: Any, build: Builder, parameters: Iterable[Tensor], species: Tensor, edges: Edges, seed: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Node energies (N,) float64 and d(seed . energies) / d vector (E, 3) float64.

    Differentiable once, in the parameters and the seed (N,) float64, and not in the edge vectors. None where there are
    no native kernels for these tensors.

    Args:
        model: an architecture with ``edges``, ``radial`` and ``layers`` that have a ``message``.
        build: makes the tape's stages.
        parameters: the embedding of species, then those of the layers as ``build`` takes them.
        species, edges, seed: of the batch.
    """
    vector = edges.exact_vector.detach().to(edges.dtype)
    geometry = model.edges.geometry
    if not (
        uses_native(vector)
        and is_eager(vector)
        and can_tape(geometry, [layer.message.convolution for layer in model.layers])
    ):
        return None
    embedded, _ = model.edges.at_knots(model.radial, vector)
    return _EnergyAndGradient.apply(build, geometry, species, edges.index, vector, seed, embedded, *parameters)


class _Tape:
    """All steps of a model for one batch."""

    def __init__(
        self, build: Builder, geometry: EdgeGeometry, species: Tensor, edges: EdgeIndex, parameters: tuple[Tensor, ...]
    ) -> None:
        self._embedding, *rest = parameters
        self._geometry = Geometry(geometry)
        self._stages = build(species, edges, len(self._embedding), iter(rest))

    def forward(self, vector: Tensor, embedded: Tensor) -> Tensor:
        """Energies (N, 1)."""
        harmonics, basis, knot = self._geometry.forward(vector)
        x, energy = self._embedding, None
        for layer, readout in self._stages:
            x = layer.forward(x, harmonics, basis, knot, embedded)
            energy = energy if readout is None else readout.forward(x, energy)
        return energy

    def backward(self, seed: Tensor) -> Tensor:
        """d(seed . energies) / d vector (E, 3)."""
        g = g_harmonics = g_basis = None
        for layer, readout in reversed(self._stages):
            g = g if readout is None else readout.backward(seed, g)
            g, harmonics, basis = layer.backward(g)
            g_harmonics = harmonics if g_harmonics is None else g_harmonics.add_(harmonics)
            g_basis = basis if g_basis is None else g_basis.add_(basis)
        return self._geometry.backward(g_harmonics, g_basis)

    def tangent(self, h_vector: Tensor) -> Tensor:
        """How the energies move along a direction of the edge vectors."""
        h_harmonics, h_basis = self._geometry.tangent(h_vector)
        h = moved = None
        for layer, readout in self._stages:
            h = layer.tangent(h, h_harmonics, h_basis)
            moved = moved if readout is None else readout.tangent(h, moved)
        return moved

    def adjoint(self, b_energy: Tensor, wants_embedded: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Of the knots' embedding, and of the parameters in their order."""
        gradients: list[Tensor] = []
        b = b_embedded = None
        for layer, readout in reversed(self._stages):
            if readout is not None:
                b, of_readout = readout.adjoint(b_energy, b)
                gradients = of_readout + gradients
            b, embedded, own = layer.adjoint(b, wants_embedded)
            gradients = own + gradients
            if wants_embedded:
                b_embedded = embedded if b_embedded is None else b_embedded + embedded
        return b_embedded, [b, *gradients]


class _EnergyAndGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        build: Builder,
        geometry: EdgeGeometry,
        species: Tensor,
        edges: EdgeIndex,
        vector: Tensor,
        seed: Tensor,
        embedded: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.tape = _Tape(build, geometry, species, edges, parameters)
        # The tape works on these tensors: autograd makes sure that nobody writes to them before the backward pass.
        ctx.save_for_backward(embedded, *parameters)
        energy = ctx.tape.forward(vector, embedded).squeeze(1)
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
        b_embedded, gradients = ctx.tape.adjoint(b_energy.to(moved.dtype).unsqueeze(1), ctx.needs_input_grad[6])
        b_seed = moved.squeeze(1).to(torch.float64) if ctx.needs_input_grad[5] else None
        return None, None, None, None, None, b_seed, b_embedded, *gradients
