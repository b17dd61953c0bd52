"""How far two results are apart in the measures of the tolerances, and derivatives by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from equipot.checks.model.magnitudes import Magnitude
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import Evaluation
from equipot.checks.model.tolerances import Tolerance

#: Units in the last place that a sum of atomic energies may lose.
_ROUNDING = 8 * np.finfo(float).eps
#: The same of a derivative by differences, over the step.
_DIFFERENCE_ROUNDING = 4
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True)
class Difference:
    """Errors of energy (eV per atom), forces (eV/Angstrom) and stress (eV/Angstrom^3; None where there is none)."""

    e: float
    f: float
    s: float | None

    def measures(self, tolerance: Tolerance, magnitude: Magnitude, where: str) -> list[Measure]:
        """The three figures beside their limits, which grow with the magnitude of what is compared."""
        found = [
            Measure("energy", self.e, tolerance.e * magnitude.energy, "eV/atom", where),
            Measure("forces", self.f, tolerance.f * magnitude.force, "eV/Å", where),
        ]
        if self.s is not None:
            found.append(Measure("stress", self.s, tolerance.s * magnitude.stress, "eV/Å³", where))
        return found


def difference(
    one: Evaluation,
    two: Evaluation,
    *,
    rotation: np.ndarray | None = None,
    order: np.ndarray | None = None,
    copies: int = 1,
) -> Difference:
    """How far ``two`` is from ``one`` rotated by ``rotation``, with atoms reordered, or repeated ``copies`` times.

    Of the energy difference, what float64 loses in summing large atomic energies is taken off.
    """
    matrix = np.eye(3) if rotation is None else rotation
    forces = one.forces @ matrix.T
    forces = np.tile(forces if order is None else forces[order], (copies, 1))
    num_atoms = max(len(forces), 1)
    energy = energy_change(copies * one.energy, two.energy)
    stress = None
    if one.stress is not None and two.stress is not None:
        stress = float(np.abs(two.stress - matrix @ one.stress @ matrix.T).max())
    largest = float(np.abs(two.forces - forces).max()) if forces.size else 0.0
    return Difference(energy / num_atoms, largest, stress)


def energy_change(one: float, two: float) -> float:
    """|two - one| (eV) less what float64 loses in summing large atomic energies."""
    change = abs(two - one) - _ROUNDING * abs(two)
    # max() with the limit first would turn NaN into zero.
    return change if not change <= 0.0 else 0.0


def central_difference(function: Callable[[float], float], step: float) -> float:
    """Fourth-order derivative of ``function`` at 0."""
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def derivative_error(
    function: Callable[[float], float], expected: float, steps: Sequence[float], limit: float
) -> float:
    """How far the derivative of ``function`` at 0 is from ``expected``, at the first step where it is within ``limit``.

    Where a second derivative jumps (at the ends of XPLOR's envelope) within a step, the difference is wrong by an
    amount that shrinks with it; a wrong derivative is wrong at every step. What float64 loses in the difference of two
    large energies is taken off.
    """
    error = np.inf
    rounding = _DIFFERENCE_ROUNDING * np.finfo(float).eps * abs(function(0.0))
    for step in steps:
        found = abs(central_difference(function, step) - expected)
        error = min(error, 0.0 if found <= rounding / step else found)
        if error <= limit:
            break
    return float(error)


def displaced(atoms: Atoms, atom: int, axis: int, distance: float) -> Atoms:
    """A copy with one atom moved along one axis (Angstrom)."""
    copy = atoms.copy()
    copy.positions[atom, axis] += distance
    return copy


def strained(atoms: Atoms, row: int, column: int, amount: float) -> Atoms:
    """A copy under a small symmetric strain, atoms going along."""
    deformation = np.eye(3)
    deformation[row, column] += amount / 2
    deformation[column, row] += amount / 2
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return copy


def rotated(atoms: Atoms, rotation: np.ndarray) -> Atoms:
    """A copy turned (or mirrored) about the origin, cell included."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ rotation.T)
    copy.positions = atoms.positions @ rotation.T
    return copy
