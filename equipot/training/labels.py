"""Labels beside predictions, for loss and metrics: which labels count, and how far a prediction is from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.graph import AtomicGraph
from equipot.kernels.native import labels as native
from equipot.kernels.selection import uses_native

if TYPE_CHECKING:
    from equipot.models import ModelOutput


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


@dataclass(frozen=True)
class LabelErrors:
    """Prediction minus label, detached, float64, exactly zero where a label does not count.

    Attributes:
        energy: (B,) eV.
        forces, stress: (N, 3) eV/Angstrom and (B, 3, 3) eV/Angstrom^3, None where they were not computed.
        masks: which labels count.
        num_atoms: (B,) float64, at least 1.
        graph_index: (N,).
    """

    energy: Tensor
    forces: Tensor | None
    stress: Tensor | None
    masks: LabelMasks
    num_atoms: Tensor
    graph_index: Tensor


@torch.no_grad()
def label_errors(output: ModelOutput, graph: AtomicGraph, masks: LabelMasks | None = None) -> LabelErrors:
    """Compare a prediction with the labels of a batch.

    Args:
        output: energy (B,); forces (N, 3) and stress (B, 3, 3), or None where they were not computed.
        graph: the batch with its labels.
        masks: those of ``graph``, where they are known already.
    """
    masks = label_masks(graph) if masks is None else masks
    # Filling, and not a product with the mask: 0 x NaN is NaN.
    energy = (output.energy - graph.energy).masked_fill_(~masks.energy, 0.0)
    forces = stress = None
    if output.forces is not None:
        forces = (output.forces - graph.forces).masked_fill_(~masks.forces[:, None], 0.0)
    if output.stress is not None:
        stress = (output.stress - graph.stress).masked_fill_(~masks.stress[:, None, None], 0.0)
    return LabelErrors(energy, forces, stress, masks, num_atoms(graph), graph.graph_index)


def num_atoms(graph: AtomicGraph) -> Tensor:
    """Atoms of each graph as numbers to divide by, (B,) float64, at least 1."""
    return graph.num_nodes_per_graph.clamp(min=1).to(torch.float64)
