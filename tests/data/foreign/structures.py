"""The structures converted models are held against their own packages on: NumPy and ASE only, the same everywhere."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

#: Elements of all of them.
SYMBOLS = ("H", "C", "N", "O", "F", "Na", "Cl", "Ti", "Cu")


def _disturbed(atoms: Atoms, seed: int, amplitude: float = 0.12) -> Atoms:
    """Rattled, and strained in all six ways."""
    random = np.random.default_rng(seed)
    strain = random.uniform(-0.03, 0.03, (3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
    atoms.positions += random.normal(scale=amplitude, size=atoms.positions.shape)
    return atoms


def _rutile() -> Atoms:
    a, c, u = 4.65, 2.97, 0.305
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (u, u, 0), (-u, -u, 0), (0.5 + u, 0.5 - u, 0.5), (0.5 - u, 0.5 + u, 0.5)]
    return Atoms("Ti2O4", scaled_positions=places, cell=[a, a, c], pbc=True)


def _chiral() -> Atoms:
    """Eight atoms of many kinds at random places: no symmetry, not even a mirror."""
    random = np.random.default_rng(11)
    places: list[np.ndarray] = []
    while len(places) < 8:
        place = random.uniform(-2.3, 2.3, 3)
        if all(np.linalg.norm(place - other) > 1.25 for other in places):
            places.append(place)
    return Atoms(["C", "H", "F", "Cl", "N", "O", "H", "C"], np.array(places))


def structures() -> dict[str, Atoms]:
    """Name -> structure."""
    found = {
        "Cu": _disturbed(bulk("Cu", cubic=True) * (2, 1, 1), 1),
        "NaCl": _disturbed(bulk("NaCl", "rocksalt", a=5.64, cubic=True), 2),
        "TiO2": _disturbed(_rutile() * (1, 1, 2), 3),
        "chiral cluster": _chiral(),
        "molecule": molecule("CH3CH2OH"),
    }
    found["molecule"].rattle(0.05, seed=4)
    return found
