"""Relax a structure, and its cell if wanted, with a potential."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE

from equipot.errors import NumericalError, UsageError
from equipot.interfaces.ase import Calculator
from equipot.models import Potential
from equipot.units import GPA_PER_EV_A3

_OPTIMIZERS = {"bfgs": BFGS, "fire": FIRE}


@dataclass(frozen=True)
class RelaxResult:
    """A relaxed structure.

    Attributes:
        atoms: the relaxed copy, with its calculator.
        is_converged: whether ``fmax`` was reached.
        steps: optimiser steps.
        energy: eV.
        max_force: largest force on an atom (eV/Angstrom), constraints applied.
        pressure_gpa: of the relaxed structure (GPa), None without a relaxed cell.
    """

    atoms: Atoms
    is_converged: bool
    steps: int
    energy: float
    max_force: float
    pressure_gpa: float | None


def relax(
    structure: Atoms,
    model: str | Path | Potential | BaseCalculator,
    *,
    fmax: float = 0.01,
    cell: bool = False,
    pressure_gpa: float = 0.0,
    optimizer: str = "bfgs",
    steps: int = 500,
) -> RelaxResult:
    """Move atoms (and cell vectors) downhill until they are at rest.

    Args:
        structure: start; it is not changed, its constraints are kept.
        model: model file, `Potential` or any ASE calculator.
        fmax: largest force that counts as rest (eV/Angstrom); with ``cell`` also the largest row of ASE's Frechet cell
            gradient (eV).
        cell: relax all six components of the cell too; needs periodicity in three dimensions.
        pressure_gpa: external pressure on the cell.
        optimizer: ``bfgs``, or ``fire`` for starts far from rest.
        steps: at most.

    Returns:
        The relaxed copy; look at ``is_converged``.

    Raises:
        UsageError: arguments without meaning.
        StructureError, ElementError, NumericalError: from the calculator.
    """
    if optimizer not in _OPTIMIZERS:
        raise UsageError(f"The optimizer {optimizer!r} is not one of {', '.join(_OPTIMIZERS)}.")
    if not fmax > 0.0:
        raise UsageError(f"fmax is {fmax}; give a force above 0 eV/Angstrom.")
    if pressure_gpa and not cell:
        raise UsageError("An external pressure has no effect while the cell is fixed; relax the cell too.")
    if cell and not (structure.pbc.all() and structure.cell.rank == 3):
        raise UsageError(f"To relax a cell it must be periodic in three dimensions, not pbc {structure.pbc.tolist()}.")
    if len(structure) == 0:
        raise UsageError("There are no atoms to relax.")
    atoms = structure.copy()
    atoms.calc = model if isinstance(model, BaseCalculator) else Calculator(model)
    target = FrechetCellFilter(atoms, scalar_pressure=pressure_gpa / GPA_PER_EV_A3) if cell else atoms
    dynamics = _OPTIMIZERS[optimizer](target, logfile=None)
    is_converged = bool(dynamics.run(fmax=fmax, steps=steps))
    max_force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if not np.isfinite(max_force):
        raise NumericalError(f"The relaxation left the reach of the potential after {dynamics.nsteps} steps.")
    pressure = -float(atoms.get_stress()[:3].mean()) * GPA_PER_EV_A3 if cell else None
    return RelaxResult(atoms, is_converged, dynamics.nsteps, float(atoms.get_potential_energy()), max_force, pressure)
