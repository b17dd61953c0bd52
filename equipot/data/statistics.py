"""The numbers a model and its loss are scaled by, computed once from the training graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from equipot.data.frames import LABELS
from equipot.data.label_masks import label_masks
from equipot.graph import AtomicGraph


@dataclass
class Statistics:
    """What the training graphs look like.

    Attributes:
        avg_num_neighbors: Mean number of edges an atom.
        forces_rms: Root mean square force component (eV/Angstrom); 1 where there are no forces or all are zero.
        energy_mean_per_atom_after_e0: Mean over frames of (energy less atomic energies) an atom (eV/atom).
        num_frames, num_atoms, num_edges: Totals.
        coverage: Label -> (frames that have it, frames).
        warnings: Sentences the user should read.
    """

    avg_num_neighbors: float
    forces_rms: float
    energy_mean_per_atom_after_e0: float
    num_frames: int
    num_atoms: int
    num_edges: int
    coverage: dict[str, tuple[int, int]]
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Printable lines."""
        return [
            f"training graphs: {self.num_frames} frames, {self.num_atoms} atoms, {self.num_edges} edges, "
            f"{self.avg_num_neighbors:.2f} neighbours an atom",
            f"  forces rms {self.forces_rms:.4f} eV/A, energy after atomic energies "
            f"{self.energy_mean_per_atom_after_e0:.4f} eV/atom",
            *(f"  warning: {warning}" for warning in self.warnings),
        ]


def compute_statistics(graphs: Sequence[AtomicGraph], atomic_energies: Mapping[str, float]) -> Statistics:
    """Compute the statistics of training graphs.

    Args:
        graphs: At least one graph.
        atomic_energies: Element symbol -> E0 (eV), for every element in the graphs.
    """
    num_atoms = sum(graph.num_nodes for graph in graphs)
    num_edges = sum(graph.num_edges for graph in graphs)
    table = torch.zeros(len(chemical_symbols), dtype=torch.float64)
    for symbol, value in atomic_energies.items():
        table[chemical_symbols.index(symbol)] = value
    square_sum, num_components = 0.0, 0
    left: list[float] = []
    for graph in graphs:
        masks = label_masks(graph)
        forces = graph.forces[masks.forces].flatten()
        square_sum += float((forces**2).sum())
        num_components += forces.numel()
        if bool(masks.energy.all()):
            left.append(float((graph.energy.sum() - table[graph.atomic_numbers].sum()) / graph.num_nodes))
    warnings = []
    forces_rms = float(np.sqrt(square_sum / num_components)) if num_components else 0.0
    if forces_rms == 0.0:
        reason = "all forces are zero" if num_components else "there are no forces"
        warnings.append(f"{reason}: 1 eV/A stands in for their rms")
        forces_rms = 1.0
    present = count_labelled(graphs)
    return Statistics(
        avg_num_neighbors=num_edges / max(num_atoms, 1),
        forces_rms=forces_rms,
        energy_mean_per_atom_after_e0=float(np.mean(left)) if left else 0.0,
        num_frames=len(graphs),
        num_atoms=num_atoms,
        num_edges=num_edges,
        coverage={label: (present[label], len(graphs)) for label in LABELS},
        warnings=warnings,
    )


def count_labelled(graphs: Sequence[AtomicGraph]) -> dict[str, int]:
    """Label -> number of graphs in which it counts, for forces on at least one atom."""
    masks = [label_masks(graph) for graph in graphs]
    return {label: sum(bool(getattr(mask, label).any()) for mask in masks) for label in LABELS}
