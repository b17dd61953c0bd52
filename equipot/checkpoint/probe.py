"""A network's energies on one small cluster, stored with it: proof on loading that its numbers still come out the same.

Weights mean what they mean only together with the conventions of the libraries below (signs of Clebsch-Gordan
coefficients, order of a basis). The cluster has no symmetry, not even mirror images, so that a changed sign shows.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from equipot.errors import CheckpointError
from equipot.kernels import EdgeIndex
from equipot.models.architecture import Edges

if TYPE_CHECKING:
    from equipot.models import Potential

#: In units of the cutoff.
_POSITIONS = (
    (0.0, 0.0, 0.0),
    (0.38, 0.05, -0.02),
    (-0.07, 0.44, 0.03),
    (0.11, -0.09, 0.51),
    (-0.36, -0.21, 0.17),
    (0.29, 0.41, 0.33),
    (-0.18, 0.27, -0.46),
    (0.52, -0.39, 0.24),
)
#: Allowed difference relative to the largest energy. The cluster is always computed in float64; what remains is the
#: rounding of constant tables in a float32 model (1e-7). A changed sign of one coupling showed 3e-4 or more.
_TOLERANCE = 1e-5
_FLOOR = 1e-12


def probe_energies(potential: Potential) -> list[float] | None:
    """The architecture's energies of the cluster's atoms (unscaled, without atomic energies and core repulsion).

    None if they are not all finite.
    """
    positions = torch.tensor(_POSITIONS, dtype=torch.float64) * potential.cutoff
    num_atoms, num_elements = len(positions), len(potential.elements)
    species = torch.tensor(
        [
            index * num_elements // num_atoms if num_elements > num_atoms else index % num_elements
            for index in range(num_atoms)
        ]
    )
    vector = positions[None, :, :] - positions[:, None, :]
    length = vector.norm(dim=2)
    center, neighbor = ((length < potential.cutoff) & (length > 0)).nonzero(as_tuple=True)
    index = EdgeIndex.build(center, neighbor, num_atoms)
    edges = Edges(index, vector[center, neighbor], torch.float64)
    architecture = copy.deepcopy(potential.architecture).to("cpu", torch.float64).eval()
    with torch.no_grad():
        energies = architecture(species, edges).tolist()
    return energies if all(map(math.isfinite, energies)) else None


def check_probe(potential: Potential, stored: list[float] | None, where: str, written_with: str) -> None:
    """Compare the cluster's energies with those stored in the file.

    Raises:
        CheckpointError: they differ by more than rounding.
    """
    if stored is None:
        return
    found = probe_energies(potential)
    if found is None or len(found) != len(stored):
        raise CheckpointError(f"{where}: the model's energies on its test cluster are not finite here.")
    tolerance = _TOLERANCE * max(map(abs, stored)) + _FLOOR
    difference = max(abs(a - b) for a, b in zip(found, stored))
    if difference > tolerance:
        raise CheckpointError(
            f"{where}: on its test cluster the model's energies differ by {difference:.3g} from what "
            f"they were where it was written ({written_with}); {tolerance:.1g} would be rounding. "
            "Install the versions it was written with."
        )
