"""The crystal at rest: positions and cell relaxed with the space group kept, everything else starts from it."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.constraints import FixSymmetry
from ase.data import atomic_numbers
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from equipot.errors import NumericalError, UsageError
from equipot.properties.equation_of_state import locate_volume
from equipot.properties.result import Findings
from equipot.properties.settings import RelaxationSettings
from equipot.properties.structures import conventional_cell, find_symmetry
from equipot.units import GPA_PER_EV_A3

#: Cells whose edges and angles the report names, by crystal system.
_EDGES = {"cubic": "a", "hexagonal": "ac", "trigonal": "ac", "tetragonal": "ac"}


def relax_crystal(atoms: Atoms, calculator: BaseCalculator, settings: RelaxationSettings) -> tuple[Atoms, Findings]:
    """Bring a crystal to rest in its standard conventional cell.

    The cell is first scaled to the minimum of the energy, since a step of an optimiser from far away may leave the
    potential's reach; then positions and cell move together (ASE's Frechet cell filter) under the symmetry of the
    structure given, so that a crystal at a saddle of the energy stays what it is.

    Args:
        atoms: a crystal. It is not changed.
        calculator: any ASE calculator with forces and stress.
        settings: thresholds.

    Returns:
        The standard conventional cell at rest, without calculator, and what was found.

    Raises:
        UsageError: the calculator has no stress.
        NumericalError: no rest was reached.
    """
    tolerance = settings.symmetry_tolerance
    before = find_symmetry(atoms, tolerance)
    crystal = conventional_cell(atoms, tolerance)
    name = crystal.get_chemical_formula(empirical=True)
    if settings.pressure_gpa == 0.0:
        scale = (locate_volume(crystal, calculator) / crystal.get_volume()) ** (1 / 3)
        crystal.set_cell(crystal.cell.array * scale, scale_atoms=True)
    crystal.calc = calculator
    if settings.keep_symmetry:
        crystal.set_constraint(FixSymmetry(crystal, symprec=tolerance))
    try:
        target = FrechetCellFilter(crystal, scalar_pressure=settings.pressure_gpa / GPA_PER_EV_A3)
        dynamics = BFGS(target, logfile=None)
        is_converged = bool(dynamics.run(fmax=settings.fmax, steps=settings.steps))
    except (PropertyNotImplementedError, NotImplementedError) as error:
        raise UsageError(
            f"Properties of crystals need a calculator with a stress, and {type(calculator).__name__} has "
            f"none for {name}."
        ) from error
    force = float(np.linalg.norm(crystal.get_forces(), axis=1).max())
    residual = float(np.abs(crystal.get_stress(voigt=False) * GPA_PER_EV_A3 + settings.pressure_gpa * np.eye(3)).max())
    if not (is_converged and np.isfinite(force)):
        raise NumericalError(
            f"{name} did not come to rest in {dynamics.nsteps} steps: largest force {force:.2g} eV/A, largest residual "
            f"stress {residual:.2g} GPa, asked for {settings.fmax:g} eV/A; start nearer to rest, allow more steps, or "
            "the potential does not hold this crystal together."
        )
    energy = float(crystal.get_potential_energy()) / len(crystal)
    crystal.calc = None
    crystal.set_constraint()
    after = find_symmetry(crystal, tolerance)
    crystal = conventional_cell(crystal, tolerance)
    findings = Findings()
    _describe(findings, crystal, energy, after.system)
    findings.add("residual_stress", residual, "GPa")
    findings.note(
        f"Space group {after}; {dynamics.nsteps} steps, largest force {force:.1g} eV/A, largest residual "
        f"stress {residual:.1g} GPa."
    )
    if after.number != before.number:
        findings.doubt(f"The space group changed from {before} to {after} while relaxing.")
    findings.curves = {
        "space_group": {"number": after.number, "symbol": after.symbol},
        "cell": crystal.cell.array.tolist(),
        "scaled_positions": crystal.get_scaled_positions().tolist(),
        "symbols": crystal.get_chemical_symbols(),
    }
    return crystal, findings


def crystal_of(curves: dict) -> Atoms:
    """Rebuild the relaxed crystal from the curves that ``relax_crystal`` left."""
    numbers = [atomic_numbers[symbol] for symbol in curves["symbols"]]
    return Atoms(numbers, scaled_positions=curves["scaled_positions"], cell=curves["cell"], pbc=True)


def _describe(findings: Findings, crystal: Atoms, energy: float, system: str) -> None:
    lengths = dict(zip("abc", crystal.cell.lengths()))
    edges = _EDGES.get(system, "abc")
    for edge in edges:
        findings.add("lattice_constant" if edges == "a" else f"lattice_constant_{edge}", lengths[edge], "A")
    if edges == "ac":
        findings.add("c_over_a", lengths["c"] / lengths["a"])
    if system in ("monoclinic", "triclinic"):
        for name, angle in zip(("alpha", "beta", "gamma"), crystal.cell.angles()):
            findings.add(name, angle, "degree")
    findings.add("volume", crystal.get_volume() / len(crystal), "A^3/atom")
    findings.add("energy", energy, "eV/atom")
