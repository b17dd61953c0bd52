"""Energy against volume of a crystal: its lattice constant, cohesive minimum and bulk modulus."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.eos import EquationOfState as BirchMurnaghan
from ase.eos import birchmurnaghan
from scipy.optimize import OptimizeWarning

from equipot.errors import NumericalError, StructureError, UsageError
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

#: Linear scales of the given cell among which the minimum is looked for, outwards from the given cell.
_SEARCH_STEP, _SEARCH_LIMIT = 0.02, 0.20
#: Half width in volume of the window that is fitted, and points in it.
_WINDOW, _NUM_POINTS = 0.06, 11


@dataclass(frozen=True)
class EquationOfState:
    """A fitted equation of state. Energies and volumes are those of the whole cell that was given.

    Attributes:
        lattice_constant: length of the first lattice vector at the minimum (Angstrom).
        volume: volume at the minimum (Angstrom^3).
        energy: energy at the minimum (eV).
        bulk_modulus_gpa: bulk modulus at the minimum (GPa).
        bulk_modulus_derivative: its pressure derivative.
        num_atoms: atoms in the cell.
        volumes: (K,) volumes that were fitted (Angstrom^3).
        energies: (K,) their energies (eV).
        pressures_gpa: (K,) -trace(stress)/3 there (GPa); NaN where the calculator has no stress.
        fit_rms_mev_per_atom: root mean square of what the fit leaves (meV/atom).
        pressure_mismatch_gpa: largest difference between the pressure from the stress and -dE/dV of the fit (GPa), a
            check of the stress against the energy; NaN where there is no stress.
    """

    lattice_constant: float
    volume: float
    energy: float
    bulk_modulus_gpa: float
    bulk_modulus_derivative: float
    num_atoms: int
    volumes: np.ndarray
    energies: np.ndarray
    pressures_gpa: np.ndarray
    fit_rms_mev_per_atom: float
    pressure_mismatch_gpa: float

    def energy_at(self, volumes: np.ndarray) -> np.ndarray:
        """Evaluate the fitted curve: energies (eV) at ``volumes`` (Angstrom^3), for drawing."""
        return birchmurnaghan(
            np.asarray(volumes, dtype=float),
            self.energy,
            self.bulk_modulus_gpa / GPA_PER_EV_A3,
            self.bulk_modulus_derivative,
            self.volume,
        )

    def to_dict(self) -> dict:
        """Return everything as numbers and lists for JSON; what is not known is None."""
        pressures = [float(p) if np.isfinite(p) else None for p in self.pressures_gpa]
        mismatch = self.pressure_mismatch_gpa
        return {
            "lattice_constant": self.lattice_constant,
            "volume": self.volume,
            "energy": self.energy,
            "bulk_modulus_gpa": self.bulk_modulus_gpa,
            "bulk_modulus_derivative": self.bulk_modulus_derivative,
            "num_atoms": self.num_atoms,
            "volumes": self.volumes.tolist(),
            "energies": self.energies.tolist(),
            "pressures_gpa": pressures,
            "fit_rms_mev_per_atom": self.fit_rms_mev_per_atom,
            "pressure_mismatch_gpa": mismatch if np.isfinite(mismatch) else None,
        }


def locate_volume(atoms: Atoms, calculator: BaseCalculator) -> float:
    """Return the volume (Angstrom^3) of the nearest minimum of the energy under isotropic scaling.

    Raises:
        NumericalError: none within 20 % of the lattice constant.
    """
    return _Scan(atoms, calculator).locate_minimum()


def equation_of_state(
    atoms: Atoms,
    calculator: BaseCalculator,
    *,
    window: float = _WINDOW,
    num_points: int = _NUM_POINTS,
    relax: Callable[[Atoms], object] | None = None,
) -> EquationOfState:
    """Fit a third-order Birch-Murnaghan equation of state to isotropically strained copies of a crystal.

    The minimum is first bracketed by walking downhill in steps of 2 % of the lattice constant, at most 20 % away from
    the given cell, then located, and the energies of ``num_points`` volumes within ``window`` of it are fitted
    (F. Birch, Phys. Rev. 71, 809 (1947), as in ase.eos). Positions scale with the cell, which is exact where symmetry
    fixes the fractional coordinates and the shape of the cell; for other crystals give ``relax``.

    Args:
        atoms: a crystal near its minimum, periodic in three dimensions. It is not changed.
        calculator: any ASE calculator with an energy; where it has a stress the two are compared.
        window: half width in volume of what is fitted, as a part of the volume.
        num_points: volumes in it.
        relax: called with each strained copy (its calculator attached) to relax it in place at its volume.

    Returns:
        The fit and the points it was made from.

    Raises:
        UsageError: the structure is not periodic in three dimensions.
        NumericalError: no minimum of the energy near the given cell, or energies no equation of state describes.
    """
    if not (len(atoms) and atoms.pbc.all() and atoms.cell.rank == 3):
        raise UsageError(
            f"An equation of state needs a crystal periodic in three dimensions, not {_name(atoms)} with "
            f"pbc {atoms.pbc.tolist()}."
        )
    scan = _Scan(atoms, calculator)
    center = scan.locate_minimum()
    volumes = center * np.linspace(1.0 - window, 1.0 + window, num_points)
    energies, pressures = map(np.array, zip(*(scan.at_volume(volume, relax) for volume in volumes)))
    volume, energy, modulus, derivative = _fit(volumes, energies, _name(atoms))
    fitted = birchmurnaghan(volumes, energy, modulus, derivative, volume)
    pressures_of_fit = _birch_murnaghan_pressure(volumes, modulus, derivative, volume)
    mismatch = float(np.max(np.abs(pressures - pressures_of_fit))) * GPA_PER_EV_A3
    return EquationOfState(
        lattice_constant=float(atoms.cell.lengths()[0] * (volume / atoms.get_volume()) ** (1 / 3)),
        volume=float(volume),
        energy=float(energy),
        bulk_modulus_gpa=float(modulus * GPA_PER_EV_A3),
        bulk_modulus_derivative=float(derivative),
        num_atoms=len(atoms),
        volumes=volumes,
        energies=energies,
        pressures_gpa=pressures * GPA_PER_EV_A3,
        fit_rms_mev_per_atom=float(np.sqrt(np.mean((fitted - energies) ** 2)) / len(atoms) * MEV_PER_EV),
        pressure_mismatch_gpa=mismatch,
    )


class _Scan:
    """Energies and pressures of isotropically scaled copies of one crystal."""

    def __init__(self, atoms: Atoms, calculator: BaseCalculator) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = calculator
        self.cell = atoms.cell.array.copy()
        self.volume = atoms.get_volume()
        self.name = _name(atoms)

    def _scale(self, factor: float) -> None:
        self.atoms.set_cell(self.cell * factor, scale_atoms=True)

    def energy(self, factor: float) -> float:
        self._scale(factor)
        try:
            return float(self.atoms.get_potential_energy())
        except (NumericalError, StructureError):
            return float("nan")

    def at_volume(self, volume: float, relax: Callable[[Atoms], object] | None = None) -> tuple[float, float]:
        """Return energy (eV) and pressure (eV/Angstrom^3, NaN without a stress) at a volume (Angstrom^3)."""
        self._scale((volume / self.volume) ** (1 / 3))
        atoms = self.atoms
        if relax is not None:
            atoms, atoms.calc = self.atoms.copy(), self.atoms.calc
            relax(atoms)
        energy = float(atoms.get_potential_energy())
        try:
            pressure = -float(np.trace(atoms.get_stress(voigt=False))) / 3.0
        except (PropertyNotImplementedError, NotImplementedError):
            pressure = float("nan")
        return energy, pressure

    def locate_minimum(self) -> float:
        """Walk downhill to a bracket of the nearest minimum, refine it by parabolas, return the volume there."""
        factors = [1.0 - _SEARCH_STEP, 1.0, 1.0 + _SEARCH_STEP]
        energies = [self.energy(factor) for factor in factors]
        while not energies[1] <= min(energies[0], energies[2]):
            downwards = energies[0] < energies[2]
            new = factors[0] - _SEARCH_STEP if downwards else factors[2] + _SEARCH_STEP
            energy = self.energy(new)
            if abs(new - 1.0) > _SEARCH_LIMIT + 1e-9 or not np.isfinite([*energies, energy]).all():
                raise NumericalError(
                    f"The energy of {self.name} has no minimum within {_SEARCH_LIMIT:.0%} of the lattice constant "
                    f"{np.linalg.norm(self.cell[0]):.4g} Angstrom; check the first guess, or the potential does not "
                    "hold this crystal together."
                )
            factors = [new, *factors[:2]] if downwards else [*factors[1:], new]
            energies = [energy, *energies[:2]] if downwards else [*energies[1:], energy]
        if min(energies) == max(energies):
            raise NumericalError(
                f"The energy of {self.name} does not change with the lattice constant near "
                f"{factors[1] * np.linalg.norm(self.cell[0]):.4g} Angstrom: the atoms are out of each "
                "other's reach; check the first guess."
            )
        step = _SEARCH_STEP
        center, middle = factors[1], energies[1]
        for _ in range(3):  # each parabola through three points narrows the bracket tenfold
            left, right = self.energy(center - step), self.energy(center + step)
            curvature = left - 2.0 * middle + right
            if np.isfinite(curvature) and curvature > 0.0:
                center += float(np.clip(0.5 * step * (left - right) / curvature, -step, step))
            middle, step = self.energy(center), step / 3.0
        return self.volume * center**3


def _fit(volumes: np.ndarray, energies: np.ndarray, name: str) -> tuple[float, float, float, float]:
    """Return volume, energy, bulk modulus and its derivative (Angstrom, eV)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            fit = BirchMurnaghan(volumes, energies, eos="birchmurnaghan")
            volume, energy, modulus = fit.fit(warn=False)
    except (RuntimeError, ValueError, TypeError) as error:
        raise NumericalError(
            f"No equation of state fits the energies of {name} around {volumes.mean():.4g} "
            f"Angstrom^3 ({error}); the energy there is not a smooth valley."
        ) from error
    if not (volumes[0] < volume < volumes[-1] and modulus > 0.0 and np.isfinite([energy, modulus]).all()):
        raise NumericalError(
            f"The equation of state of {name} has its minimum at {volume:.4g} Angstrom^3, outside the "
            f"fitted {volumes[0]:.4g} to {volumes[-1]:.4g}, or no positive bulk modulus."
        )
    return volume, energy, modulus, float(fit.eos_parameters[2])


def _birch_murnaghan_pressure(volumes: np.ndarray, modulus: float, derivative: float, volume: float) -> np.ndarray:
    """Return -dE/dV of the third-order Birch-Murnaghan energy (Birch 1947), eV/Angstrom^3."""
    ratio = (volume / volumes) ** (1 / 3)
    return 1.5 * modulus * (ratio**7 - ratio**5) * (1.0 + 0.75 * (derivative - 4.0) * (ratio**2 - 1.0))


def _name(atoms: Atoms) -> str:
    return atoms.get_chemical_formula(empirical=True) or "an empty structure"
