"""Units and the Voigt convention: eV, Angstrom, eV/Angstrom^3 inside; GPa, meV only where people read them."""

from __future__ import annotations

import numpy as np
from ase import units as ase_units

#: 1 eV/Angstrom^3 in GPa (160.2176634).
GPA_PER_EV_A3 = 1.0 / ase_units.GPa
#: 1 eV in meV.
MEV_PER_EV = 1000.0
#: 1 Angstrom/sqrt(amu/eV) in fs (ASE's time unit): multiply a time in ASE units by this to get fs.
FS_PER_ASE_TIME = 1.0 / ase_units.fs

ENERGY_UNITS = {
    "eV": 1.0,
    "meV": 1e-3,
    "Ha": ase_units.Hartree,
    "Ry": ase_units.Rydberg,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
}
FORCE_UNITS = {
    "eV/A": 1.0,
    "meV/A": 1e-3,
    "Ha/Bohr": ase_units.Hartree / ase_units.Bohr,
    "Ry/Bohr": ase_units.Rydberg / ase_units.Bohr,
    "kcal/mol/A": ase_units.kcal / ase_units.mol,
}
STRESS_UNITS = {"eV/A^3": 1.0, "GPa": ase_units.GPa, "kbar": 0.1 * ase_units.GPa, "bar": 1e-4 * ase_units.GPa}

_VOIGT_ROWS, _VOIGT_COLUMNS = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)


def voigt_to_matrix(voigt: np.ndarray) -> np.ndarray:
    """Turn (..., 6) in ASE's order xx, yy, zz, yz, xz, xy into symmetric (..., 3, 3)."""
    voigt = np.asarray(voigt, dtype=float)
    matrix = np.empty((*voigt.shape[:-1], 3, 3))
    for component, (row, column) in enumerate(zip(_VOIGT_ROWS, _VOIGT_COLUMNS)):
        matrix[..., row, column] = matrix[..., column, row] = voigt[..., component]
    return matrix


def matrix_to_voigt(matrix: np.ndarray) -> np.ndarray:
    """Turn symmetric (..., 3, 3) into (..., 6) in ASE's order xx, yy, zz, yz, xz, xy."""
    return np.asarray(matrix)[..., _VOIGT_ROWS, _VOIGT_COLUMNS]
