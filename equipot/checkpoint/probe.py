"""A model's energies on one small cluster, stored with it: proof on loading that the numbers still come out the same.

Weights mean what they mean only together with the conventions of the libraries below (signs of Clebsch-Gordan
coefficients, order of a basis). The cluster has no symmetry, not even mirror images, so that a changed sign shows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from equipot.errors import CheckpointError

if TYPE_CHECKING:
    from equipot.models import Potential

#: In units of the cutoff.
_POSITIONS = ((0.0, 0.0, 0.0), (0.38, 0.05, -0.02), (-0.07, 0.44, 0.03), (0.11, -0.09, 0.51), (-0.36, -0.21, 0.17),
              (0.29, 0.41, 0.33), (-0.18, 0.27, -0.46), (0.52, -0.39, 0.24))
#: Allowed difference relative to the largest energy without atomic energies; a changed sign changes more.
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-8}
_FLOOR = 1e-9  # eV


def probe_energies(potential: Potential) -> list[float] | None:
    """Energies (eV) of the cluster's atoms without the atomic energies; None if they are not all finite."""
    device = potential.atomic_energies.device
    positions = torch.tensor(_POSITIONS, dtype=torch.float64, device=device) * potential.cutoff
    num_atoms, num_elements = len(positions), len(potential.elements)
    species = torch.tensor([index * num_elements // num_atoms if num_elements > num_atoms else index % num_elements
                            for index in range(num_atoms)], device=device)
    vector = positions[None, :, :] - positions[:, None, :]
    length = vector.norm(dim=2)
    center, neighbor = ((length < potential.cutoff) & (length > 0)).nonzero(as_tuple=True)
    with torch.no_grad():
        energies = potential.node_energies(species, center, neighbor, vector[center, neighbor])
        energies = (energies - potential.atomic_energies[species]).tolist()
    return energies if all(map(math.isfinite, energies)) else None


def check_probe(potential: Potential, stored: list[float] | None, stored_dtype: torch.dtype, where: str,
                written_with: str) -> None:
    """Compare the cluster's energies with those stored in the file.

    Raises:
        CheckpointError: they differ by more than rounding.
    """
    if stored is None:
        return
    found = probe_energies(potential)
    if found is None or len(found) != len(stored):
        raise CheckpointError(f"{where}: the model's energies on its test cluster are not finite here.")
    tolerance = max(_TOLERANCE[stored_dtype], _TOLERANCE[potential.dtype]) * max(map(abs, stored)) + _FLOOR
    difference = max(abs(a - b) for a, b in zip(found, stored))
    if difference > tolerance:
        raise CheckpointError(f"{where}: on its test cluster the model differs by {difference:.3g} eV from what it "
                              f"gave where it was written ({written_with}); at most {tolerance:.1g} eV is rounding. "
                              "Install the versions it was written with.")
