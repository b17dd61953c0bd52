"""Labels beside predictions, for loss and metrics: how far a prediction is from the labels that count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from equipot.data.label_masks import LabelMasks, label_masks
from equipot.graph import AtomicGraph

if TYPE_CHECKING:
    from equipot.models import ModelOutput


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
