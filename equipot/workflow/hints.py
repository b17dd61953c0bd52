"""What a training set cannot teach, said before the training: a dissociation limit, and repulsion at short range."""

from __future__ import annotations

import torch
from ase.data import chemical_symbols

from equipot.checks.model.dimers import WALL
from equipot.checks.model.remedies import LEAST_SQUARES, SWITCH_ON_ZBL
from equipot.config.schema import Config
from equipot.data.datasets import DataSets
from equipot.elements import covalent_radius


def hints(datasets: DataSets, config: Config) -> list[str]:
    """Sentences with what is missing and the remedy; none for a fine-tuning, whose base settles both."""
    if config.finetune is not None:
        return []
    found = []
    if datasets.atomic_energies.origin == "least_squares":
        found.append(f"There are no isolated atoms for all elements, and {LEAST_SQUARES}.")
    closest = None if config.model.zbl else closest_approach(datasets)
    if closest is not None and closest[2] > WALL:
        pair, distance, ratio = closest
        found.append(
            f"The closest atoms in the data are {pair} at {distance:.2f} Å ({ratio:.2f} of their covalent radii): "
            f"nearer than that nothing teaches repulsion, and hot or dense simulations may collapse; {SWITCH_ON_ZBL}."
        )
    return found


def closest_approach(datasets: DataSets) -> tuple[str, float, float] | None:
    """The pair of elements that comes closest in the training graphs, measured by covalent radii.

    Returns:
        ``H-C``, the distance (Angstrom) and the distance over the sum of the radii; None where no atoms meet.
    """
    radii = torch.tensor([covalent_radius(symbol) for symbol in chemical_symbols[1:]], dtype=torch.float64)
    best: tuple[str, float, float] | None = None
    for graph in datasets.train:
        if not graph.num_edges:
            continue
        distances = graph.edge_vectors().norm(dim=1)
        numbers = graph.atomic_numbers[graph.edge_index]
        ratios = distances / radii[numbers - 1].sum(0)
        nearest = int(ratios.argmin())
        if best is None or float(ratios[nearest]) < best[2]:
            pair = "-".join(chemical_symbols[int(number)] for number in sorted(numbers[:, nearest].tolist()))
            best = (pair, float(distances[nearest]), float(ratios[nearest]))
    return best
