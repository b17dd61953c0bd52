"""From evaluated graphs to the points of parity plots: only labels that count in the metrics, in the plots' units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.data import atomic_numbers

from equipot.data.label_masks import label_masks
from equipot.units import GPA_PER_EV_A3, matrix_to_voigt

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph
    from equipot.training.evaluate import Prediction

#: quantity -> (reference, predicted): flat arrays of equal length.
Points = dict[str, tuple[np.ndarray, np.ndarray]]


def parity_points(
    graphs: Sequence[AtomicGraph], predictions: Sequence[Prediction], atomic_energies: Mapping[str, float]
) -> Points:
    """Put the labels of graphs beside their predictions.

    Args:
        graphs: single graphs with labels.
        predictions: those of the same graphs in the same order.
        atomic_energies: element -> eV; their sum is taken off both energies, so that the axis shows the binding.

    Returns:
        ``energy`` (eV/atom, atomic energies taken off), ``forces`` (eV/Angstrom, components) and ``stress`` (GPa, six
        components); labels that are missing or have weight zero are left out, as in the metrics.
    """
    offsets = np.zeros(120)
    for symbol, energy in atomic_energies.items():
        offsets[atomic_numbers[symbol]] = energy
    rows: dict[str, tuple[list, list]] = {name: ([], []) for name in ("energy", "forces", "stress")}

    def add(name: str, reference, predicted) -> None:
        rows[name][0].append(np.ravel(reference))
        rows[name][1].append(np.ravel(predicted))

    for graph, prediction in zip(graphs, predictions, strict=True):
        masks = label_masks(graph)
        if masks.energy.item():
            offset = offsets[graph.atomic_numbers.numpy()].sum()
            add(
                "energy",
                (graph.energy.item() - offset) / graph.num_nodes,
                (prediction.energy - offset) / graph.num_nodes,
            )
        atoms = masks.forces.numpy()
        add("forces", graph.forces.numpy()[atoms], prediction.forces[atoms])
        if masks.stress.item():
            add(
                "stress",
                matrix_to_voigt(graph.stress[0].numpy()) * GPA_PER_EV_A3,
                matrix_to_voigt(prediction.stress) * GPA_PER_EV_A3,
            )
    return {name: tuple(np.concatenate(side) if side else np.zeros(0) for side in pair) for name, pair in rows.items()}
