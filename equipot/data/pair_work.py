"""The work between two frames of the same atoms: what forces and stress say the energy difference should be.

For a small step the energy changes by -F . dr + V sigma : d(eps), trapezoid rule on both ends: forces where atoms move
inside the cell, stress where the cell deforms. Held against the energies this proves signs and units of both labels,
without any model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equipot.data.frames import Frame
from equipot.data.kabsch import rotation_onto

#: Largest deformation and displacement (Angstrom) of two frames that are compared.
LARGEST_STRAIN, LARGEST_DISPLACEMENT = 0.25, 0.4
#: Displacements below this (Angstrom) prove nothing of forces, and do so little work that frames without forces may be
#: compared.
NEGLIGIBLE_DISPLACEMENT = 1e-4


@dataclass(frozen=True)
class PairWork:
    """One step from a frame to another.

    Attributes:
        energy: Energy difference (eV).
        force_work: Work of the forces (eV), negative of the energy they explain: ``-sum F . dr``.
        force_curvature: Difference of that work between the two ends (eV): how far from linear the step is.
        strain: (3, 3) symmetric, without the rotation between the cells; zero where there is no cell.
        first, second: (3, 3) volume times stress at both ends (eV), or None.
        volume_change: Angstrom^3.
        displacement: Largest displacement of an atom inside the cell (Angstrom).
        squared, cubed: Sums over atoms of the displacement's square (Angstrom^2) and cube (Angstrom^3).
    """

    energy: float
    force_work: float
    force_curvature: float
    strain: np.ndarray
    first: np.ndarray | None
    second: np.ndarray | None
    volume_change: float
    displacement: float
    squared: float
    cubed: float

    @property
    def stress_work(self) -> float:
        """Work of the stress over the strain (eV); 0 where there is none."""
        return 0.0 if self.first is None else 0.5 * float(np.sum((self.first + self.second) * self.strain))

    @property
    def stress_curvature(self) -> float:
        """Difference of that work between the two ends (eV)."""
        return 0.0 if self.first is None else abs(float(np.sum((self.second - self.first) * self.strain)))


def pair_work(
    first: Frame,
    second: Frame,
    *,
    largest_strain: float = LARGEST_STRAIN,
    largest_displacement: float = LARGEST_DISPLACEMENT,
) -> PairWork | None:
    """Compare two frames of the same atoms in the same order.

    Args:
        first, second: With energies; both periodic in three directions, or neither periodic.
        largest_strain: Component of the deformation beyond which two frames are not compared.
        largest_displacement: Of an atom (Angstrom).

    Returns:
        The work, or None where the step is too large or needs a label that is not there.
    """
    if np.isfinite(first.volume) and np.isfinite(second.volume):
        strain, moved, forces = _periodic_step(first, second, largest_strain)
    elif not first.atoms.pbc.any() and not second.atoms.pbc.any():
        strain, moved, forces = _molecular_step(first, second)
    else:
        return None
    if strain is None:
        return None
    lengths = np.linalg.norm(moved, axis=1)
    displacement = float(lengths.max())
    work = curvature = 0.0
    if displacement > largest_displacement:
        return None
    if first.forces is None or second.forces is None:
        if displacement >= NEGLIGIBLE_DISPLACEMENT:
            return None
    else:
        at_first, at_second = -float(np.sum(forces[0] * moved)), -float(np.sum(forces[1] * moved))
        work, curvature = 0.5 * (at_first + at_second), abs(at_first - at_second)
    has_stress = first.stress is not None and second.stress is not None
    deformed = bool(np.abs(strain).max() > 1e-7)
    if deformed and not has_stress:
        return None
    change = 0.5 * (first.volume + second.volume) * float(np.trace(strain)) if deformed else 0.0
    return PairWork(
        second.energy - first.energy,
        work,
        curvature,
        strain,
        first.volume * first.stress if has_stress and deformed else None,
        second.volume * second.stress if has_stress and deformed else None,
        change,
        displacement,
        float(np.sum(lengths**2)),
        float(np.sum(lengths**3)),
    )


def _periodic_step(first: Frame, second: Frame, largest_strain: float):
    cells = first.atoms.cell.array, second.atoms.cell.array
    deformation = np.linalg.solve(*cells)  # rows of positions: r2 = r1 @ deformation
    identity = np.eye(3)
    if np.abs(deformation - identity).max() > 2.0 * largest_strain:
        return None, None, None
    # The Cayley form of the strain: exact to second order, and free of the rotation between the two cells.
    velocity = 2.0 * (deformation - identity) @ np.linalg.inv(deformation + identity)
    if np.abs(velocity).max() > largest_strain:
        return None, None, None
    change = second.atoms.get_scaled_positions(wrap=False) - first.atoms.get_scaled_positions(wrap=False)
    change -= np.round(change)
    change -= change.mean(axis=0)
    moved = change @ (0.5 * (cells[0] + cells[1]))
    return 0.5 * (velocity + velocity.T), moved, (first.forces, second.forces)


def _molecular_step(first: Frame, second: Frame):
    one = first.atoms.positions - first.atoms.positions.mean(axis=0)
    two = second.atoms.positions - second.atoms.positions.mean(axis=0)
    rotation = rotation_onto(two, one)
    forces = first.forces, None if second.forces is None else second.forces @ rotation
    return np.zeros((3, 3)), two @ rotation - one, forces
