"""Elastic constants of a crystal from the stress of small homogeneous strains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.optimize import BFGS

from equipot.errors import NumericalError, UsageError
from equipot.units import GPA_PER_EV_A3, voigt_to_matrix

#: Weights of the fourth-order central difference at strains -2, -1, 1, 2 (times 1/strain).
_STENCIL = ((-2, 1.0 / 12.0), (-1, -8.0 / 12.0), (1, 8.0 / 12.0), (2, -1.0 / 12.0))
_MAX_RELAXATION_STEPS = 300

#: Entries of a cubic crystal's matrix, Voigt order xx, yy, zz, yz, xz, xy.
_C11 = ((0, 0), (1, 1), (2, 2))
_C12 = ((0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1))
_C44 = ((3, 3), (4, 4), (5, 5))


@dataclass(frozen=True)
class ElasticConstants:
    """Elastic constants in GPa, Voigt order xx, yy, zz, yz, xz, xy with engineering shear strains.

    Attributes:
        matrix: (6, 6) symmetric elastic constants (GPa).
        asymmetry_gpa: largest |C_ij - C_ji| before symmetrising (GPa): it is zero where stress is the derivative of an
            energy and the crystal is at zero stress.
        residual_stress_gpa: largest component of the stress of the unstrained crystal (GPa).
    """

    matrix: np.ndarray
    asymmetry_gpa: float
    residual_stress_gpa: float

    @property
    def C11(self) -> float:
        """Mean of the three entries a cubic crystal has in common (GPa)."""
        return self._mean(_C11)

    @property
    def C12(self) -> float:
        """Mean of the entries a cubic crystal has in common (GPa)."""
        return self._mean(_C12)

    @property
    def C44(self) -> float:
        """Mean of the three shear entries a cubic crystal has in common (GPa)."""
        return self._mean(_C44)

    @property
    def bulk_modulus_gpa(self) -> float:
        """Voigt's average bulk modulus (GPa); (C11 + 2 C12) / 3 of a cubic crystal."""
        return float(self.matrix[:3, :3].mean())

    @property
    def cubic_deviation_gpa(self) -> float:
        """Largest difference of the matrix from the cubic one with C11, C12, C44 (GPa)."""
        return float(np.abs(self.matrix - self.cubic_matrix()).max())

    @property
    def is_stable(self) -> bool:
        """Whether every small strain costs energy (Born): the matrix is positive definite."""
        return bool(np.linalg.eigvalsh(self.matrix)[0] > 0.0)

    def cubic_matrix(self) -> np.ndarray:
        """Return the (6, 6) matrix (GPa) of the cubic crystal with these C11, C12, C44."""
        matrix = np.zeros((6, 6))
        for entries, value in ((_C11, self.C11), (_C12, self.C12), (_C44, self.C44)):
            matrix[tuple(zip(*entries))] = value
        return matrix

    def to_dict(self) -> dict:
        """Return everything as numbers and lists for JSON."""
        return {
            "matrix_gpa": self.matrix.tolist(),
            "C11": self.C11,
            "C12": self.C12,
            "C44": self.C44,
            "bulk_modulus_gpa": self.bulk_modulus_gpa,
            "cubic_deviation_gpa": self.cubic_deviation_gpa,
            "asymmetry_gpa": self.asymmetry_gpa,
            "residual_stress_gpa": self.residual_stress_gpa,
            "is_stable": self.is_stable,
        }

    def _mean(self, entries: tuple[tuple[int, int], ...]) -> float:
        return float(self.matrix[tuple(zip(*entries))].mean())


def elastic_constants(
    atoms: Atoms, calculator: BaseCalculator, *, strain: float = 0.005, relax: bool = True, fmax: float = 1e-4
) -> ElasticConstants:
    """Compute the elastic constants of a crystal as the derivative of its Cauchy stress with respect to strain.

    Each of the six Voigt strains is applied at -2, -1, 1 and 2 times ``strain`` and differentiated by the fourth-order
    central difference, so that elastic constants up to fourth order drop out. At zero stress these are the (isothermal,
    T = 0) elastic constants; relax the cell first (as `equation_of_state` does).

    Args:
        atoms: a crystal at zero stress, periodic in three dimensions, in the axes the constants are wanted in. It is
            not changed.
        calculator: any ASE calculator with forces and stress.
        strain: size of the strain step (engineering strain in the shear components).
        relax: let the atoms move in each strained cell where their forces exceed ``fmax``.
        fmax: largest force that counts as relaxed (eV/Angstrom).

    Returns:
        The constants in GPa.

    Raises:
        UsageError: not periodic in three dimensions, or the calculator has no stress.
        NumericalError: the atoms of a strained cell do not come to rest, or a stress is not finite.
    """
    name = atoms.get_chemical_formula(empirical=True) or "an empty structure"
    if not (len(atoms) and atoms.pbc.all() and atoms.cell.rank == 3):
        raise UsageError(
            f"Elastic constants need a crystal periodic in three dimensions, not {name} with pbc {atoms.pbc.tolist()}."
        )
    if not strain > 0.0:
        raise UsageError(f"The strain step is {strain}; give a small number above 0, such as 0.005.")
    crystal = atoms.copy()
    crystal.set_constraint()
    crystal.calc = calculator
    if relax:
        _relax_atoms(crystal, fmax, f"{name} before straining")
    cell, positions = crystal.cell.array.copy(), crystal.positions.copy()

    def stress_at(component: int, amount: float) -> np.ndarray:
        voigt = np.zeros(6)
        voigt[component] = amount if component < 3 else 0.5 * amount  # engineering shear is twice the tensor's
        crystal.set_cell(cell @ (np.eye(3) + voigt_to_matrix(voigt)))
        crystal.positions = positions @ (np.eye(3) + voigt_to_matrix(voigt))
        where = f"{name} strained by {amount:g} in component {component + 1}"
        if relax:
            _relax_atoms(crystal, fmax, where)
        return _stress(crystal, where)

    residual = _stress(crystal, name)
    matrix = (
        np.array(
            [
                sum(weight * stress_at(component, count * strain) for count, weight in _STENCIL) / strain
                for component in range(6)
            ]
        ).T
        * GPA_PER_EV_A3
    )
    return ElasticConstants(
        matrix=0.5 * (matrix + matrix.T),
        asymmetry_gpa=float(np.abs(matrix - matrix.T).max()),
        residual_stress_gpa=float(np.abs(residual).max() * GPA_PER_EV_A3),
    )


def _stress(atoms: Atoms, where: str) -> np.ndarray:
    try:
        stress = atoms.get_stress()
    except (PropertyNotImplementedError, NotImplementedError) as error:
        raise UsageError(
            f"Elastic constants need a calculator with a stress, and {type(atoms.calc).__name__} has none for {where}."
        ) from error
    if not np.isfinite(stress).all():
        raise NumericalError(f"The stress of {where} is not finite.")
    return stress


def _relax_atoms(atoms: Atoms, fmax: float, where: str) -> None:
    """Relax the positions at fixed cell; nothing happens where symmetry already keeps the atoms at rest."""
    if np.linalg.norm(atoms.get_forces(), axis=1).max() <= fmax:
        return
    if not BFGS(atoms, logfile=None).run(fmax=fmax, steps=_MAX_RELAXATION_STEPS):
        raise NumericalError(
            f"The atoms of {where} do not come to rest below {fmax:g} eV/Angstrom in "
            f"{_MAX_RELAXATION_STEPS} steps; the crystal may be unstable."
        )
