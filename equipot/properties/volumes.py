"""A crystal at a given volume: everything its symmetry leaves free relaxes, the volume does not."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from equipot.errors import NumericalError
from equipot.properties.case import Case
from equipot.properties.equation_of_state import EquationOfState, equation_of_state
from equipot.properties.result import Findings


def relax_at_volume(case: Case, atoms: Atoms) -> None:
    """Relax positions and the shape of the cell at constant volume in place, under the symmetry of the structure.

    Nothing happens where symmetry leaves nothing free (cubic elements).

    Raises:
        NumericalError: no rest was reached.
    """
    settings = case.settings.relaxation
    atoms.set_constraint(FixSymmetry(atoms, symprec=case.tolerance))
    dynamics = BFGS(FrechetCellFilter(atoms, constant_volume=True), logfile=None)
    if not dynamics.run(fmax=settings.fmax, steps=settings.steps):
        force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        raise NumericalError(
            f"{case.label} at {atoms.get_volume() / len(atoms):.3f} A^3/atom did not come to rest in "
            f"{dynamics.nsteps} steps (largest force {force:.2g} eV/A, asked for {settings.fmax:g})."
        )
    atoms.set_constraint()


def measure_equation_of_state(case: Case) -> Findings:
    """Fit energy against volume (see `equation_of_state`), the crystal relaxed at each volume."""
    settings = case.settings.equation_of_state
    state = equation_of_state(
        case.crystal,
        case.calculator,
        window=settings.window,
        num_points=settings.points,
        relax=lambda atoms: relax_at_volume(case, atoms),
    )
    findings = Findings()
    findings.add("bulk_modulus", state.bulk_modulus_gpa, "GPa")
    findings.add("bulk_modulus_derivative", state.bulk_modulus_derivative)
    _judge(findings, state)
    findings.curves = state.to_dict()
    return findings


def _judge(findings: Findings, state: EquationOfState) -> None:
    findings.note(
        f"Third-order Birch-Murnaghan through {len(state.volumes)} volumes, "
        f"{state.fit_rms_mev_per_atom:.2g} meV/atom left over."
    )
    if state.fit_rms_mev_per_atom > 1.0:
        findings.doubt(
            f"The fit leaves {state.fit_rms_mev_per_atom:.2g} meV/atom: the energy is not a smooth valley "
            "over the window."
        )
    mismatch, scale = state.pressure_mismatch_gpa, 0.02 * state.bulk_modulus_gpa
    if np.isfinite(mismatch) and mismatch > max(scale, 0.1):
        findings.doubt(f"The pressure of the stress and that of the energies differ by up to {mismatch:.2g} GPa.")
