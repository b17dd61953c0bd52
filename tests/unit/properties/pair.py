"""A pair potential whose properties can be written down: Lennard-Jones that ends before the second neighbours."""

from __future__ import annotations

from ase.calculators.lj import LennardJones

from equipot.properties import PropertySettings, compute
from equipot.properties.structures import Structure, parse_structure

#: Small cells are exact here: the potential reaches the nearest neighbours only.
SETTINGS = PropertySettings(
    phonons={"length": 7.0, "points": 11, "mesh": 20.0},
    vacancy={"lengths": [7.0]},
    surfaces={"thickness": 8.0},
    stacking_faults={"thickness": 8.0, "points": 5},
    distribution={"length": 7.0, "equilibration": 20, "steps": 40},
)


class NearestNeighbours(LennardJones):
    """Counts its calculations; the pair energy is smooth and zero beyond 3.3 Angstrom, its minimum near 2.55."""

    def __init__(self) -> None:
        super().__init__(sigma=2.28, epsilon=0.4, rc=3.3, ro=2.9, smooth=True)
        self.num_calculations = 0

    def calculate(self, *arguments, **more) -> None:
        self.num_calculations += 1
        super().calculate(*arguments, **more)


def crystal(lattice: str = "fcc") -> Structure:
    """Copper on a lattice."""
    return parse_structure({"fcc": "fcc:Cu:3.6", "bcc": "bcc:Cu:2.9"}[lattice])


def measure(*names: str, lattice: str = "fcc", **more):
    """Measure properties of the pair crystal."""
    more.setdefault("settings", SETTINGS)
    return compute(NearestNeighbours(), crystal(lattice), only=names, **more)
