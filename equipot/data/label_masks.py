"""Which labels of a graph or batch count: those that are there and have a weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equipot.graph import AtomicGraph
from equipot.kernels.native import labels as native
from equipot.kernels.selection import uses_native


@dataclass(frozen=True)
class LabelMasks:
    """Masks of the labels that count.

    Attributes:
        energy: (B,) bool.
        forces: (N,) bool; an atom counts where all three components are finite.
        stress: (B,) bool; a graph counts where all nine components are finite.
        known_counts: what :meth:`counts` gives, where it is known already.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    known_counts: Tensor | None = None

    def counts(self) -> Tensor:
        """Number of labelled energies, atoms with forces, and stresses, as a (3,) float64 tensor."""
        if self.known_counts is not None:
            return self.known_counts
        return torch.stack([self.energy.sum(), self.forces.sum(), self.stress.sum()]).to(torch.float64)


def label_masks(graph: AtomicGraph) -> LabelMasks:
    """Find the labels of a graph or batch that count.

    A weight of zero means the same as a missing label: several programs of the field write a placeholder number with
    weight zero where a label was not computed, and it must enter neither a gradient nor an error table.
    """
    if uses_native(graph.energy):
        masks, counts = native.label_masks(native_labels(graph))
        return LabelMasks(*masks, counts)
    has_forces_weight = (graph.forces_weight != 0)[graph.graph_index]
    return LabelMasks(
        energy=torch.isfinite(graph.energy) & (graph.energy_weight != 0),
        forces=torch.isfinite(graph.forces).all(dim=-1) & has_forces_weight,
        stress=torch.isfinite(graph.stress).flatten(1).all(dim=-1) & (graph.stress_weight != 0),
    )


def native_labels(graph: AtomicGraph) -> tuple[native.Label, native.Label, native.Label]:
    """Energies, forces and stresses as the native kernels take them."""
    return (
        native.Label(graph.energy, graph.energy_weight),
        native.Label(graph.forces, graph.forces_weight, graph.graph_index),
        native.Label(graph.stress, graph.stress_weight),
    )
