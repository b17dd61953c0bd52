"""What every property gets to work with: the crystal at rest, a calculator, settings, and a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.optimize import BFGS, FIRE

from equipot.errors import NumericalError
from equipot.properties.settings import PropertySettings
from equipot.properties.structures import Symmetry, supercell_for

#: Largest supercell (atoms) taken without asking: beyond it finite differences on a CPU take hours.
MAX_ATOMS = 20_000


@dataclass(frozen=True)
class Case:
    """A crystal at rest and the means to measure it.

    Attributes:
        label: name of the structure.
        crystal: standard conventional cell at rest, without calculator.
        symmetry: its space group.
        calculator: any ASE calculator.
        settings: of all properties.
        folder: where a property may keep files (trajectories, restarts); made when used.
        say: called with a line of progress.
    """

    label: str
    crystal: Atoms
    symmetry: Symmetry
    calculator: BaseCalculator
    settings: PropertySettings
    folder: Path
    say: Callable[[str], None] = lambda text: None

    @property
    def tolerance(self) -> float:
        """Angstrom, for symmetry."""
        return self.settings.relaxation.symmetry_tolerance

    def attach(self, atoms: Atoms) -> Atoms:
        """Give a structure the calculator."""
        atoms.calc = self.calculator
        return atoms

    def energy(self, atoms: Atoms) -> float:
        """Energy of a structure (eV), which is left without calculator."""
        copied = self.attach(atoms.copy())
        return float(copied.get_potential_energy())

    @property
    def energy_per_cell(self) -> float:
        """Energy of the crystal's conventional cell (eV)."""
        return self.energy(self.crystal)

    def supercell(self, length: float, copies: tuple[int, int, int] | None = None) -> Atoms:
        """Repeat the crystal until it is ``length`` (Angstrom) wide in every direction, or ``copies`` times.

        Raises:
            NumericalError: the supercell is too large for this machine to work on in a sensible time.
        """
        repeated = self.crystal.repeat(copies or supercell_for(self.crystal, length))
        if len(repeated) > MAX_ATOMS:
            raise NumericalError(
                f"The supercell for a length of {length:g} Angstrom has {len(repeated)} atoms, more "
                f"than {MAX_ATOMS}; ask for a smaller one."
            )
        return repeated


@dataclass(frozen=True)
class Relaxed:
    """Energy (eV), largest force (eV/Angstrom) and optimiser steps of a relaxation, and whether it came to rest."""

    energy: float
    max_force: float
    steps: int
    is_converged: bool

    def complaint(self, what: str, fmax: float) -> str:
        """The sentence about a relaxation that did not come to rest."""
        return (
            f"{what} did not come to rest: largest force {self.max_force:.2g} eV/A after {self.steps} steps, "
            f"asked for {fmax:g}."
        )


def relax_positions(atoms: Atoms, fmax: float, steps: int) -> Relaxed:
    """Relax the positions of ``atoms`` in place at fixed cell (constraints hold).

    BFGS takes the structures near rest that defects and surfaces are; above a thousand degrees of freedom its matrix
    costs more than it saves and FIRE takes over.
    """
    optimizer = (BFGS if len(atoms) <= 330 else FIRE)(atoms, logfile=None)
    is_converged = bool(optimizer.run(fmax=fmax, steps=steps))
    max_force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
    if not np.isfinite(max_force):
        raise NumericalError("The relaxation left the reach of the potential.")
    return Relaxed(float(atoms.get_potential_energy()), max_force, int(optimizer.nsteps), is_converged)
