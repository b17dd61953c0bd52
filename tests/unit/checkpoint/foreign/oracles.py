"""What other packages say of the structures, and the comparison with it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
from ase import Atoms

from equipot.checkpoint.foreign.folding import CouplingSigns
from equipot.graph import from_ase
from equipot.models import Potential
from tests.tolerances import FOREIGN, Tolerance

FOLDER = Path(__file__).parents[3] / "data" / "foreign"
_spec = importlib.util.spec_from_file_location("foreign_structures", FOLDER / "structures.py")
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
STRUCTURES: dict[str, Atoms] = _module.structures()


def records(name: str) -> dict[str, dict[str, dict]]:
    """Model -> structure -> energy, forces and stress."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def errors(potential: Potential, expected: dict[str, dict]) -> Tolerance:
    """The largest errors of energy (eV/atom), forces (eV/Angstrom) and stress (eV/Angstrom^3) over all structures."""
    energy, forces, stress = [], [], [0.0]
    for name, record in expected.items():
        output = potential(from_ase(STRUCTURES[name], potential.cutoff))
        energy.append(abs(output.energy.item() - record["energy"]) / len(STRUCTURES[name]))
        forces.append(np.abs(output.forces.numpy() - record["forces"]).max())
        if record["stress"] is not None:
            stress.append(np.abs(output.stress[0].numpy() - record["stress"]).max())
    return Tolerance(max(energy), max(forces), max(stress))


def calculator_errors(calculator, expected: dict[str, dict]) -> Tolerance:
    """The same through an ASE calculator; forces over max(rms, 0.1 eV/Angstrom)."""
    energy, forces, stress = [], [], [0.0]
    for name, record in expected.items():
        atoms = STRUCTURES[name].copy()
        atoms.calc = calculator
        right = np.array(record["forces"])
        energy.append(abs(atoms.get_potential_energy() - record["energy"]) / len(atoms))
        forces.append(np.abs(atoms.get_forces() - right).max() / max(np.sqrt((right**2).mean()), 0.1))
        if record["stress"] is not None:
            stress.append(np.abs(atoms.get_stress(voigt=False) - record["stress"]).max())
    return Tolerance(max(energy), max(forces), max(stress))


def assert_within(found: Tolerance, allowed: Tolerance = FOREIGN) -> None:
    """Every error is within the tolerance."""
    assert found.e < allowed.e and found.f < allowed.f and found.s < allowed.s, found


def plant_other_coupling_signs(monkeypatch) -> None:
    """Take files to be of another release of e3nn: from 0.4 to 0.6 the tables (1, 2, 2), (1, 3, 3), ... changed sign.

    The random models are small and hardly chiral, so that the error is far above rounding (1e-14 eV/Angstrom) but not
    large; with SevenNet-0's weights it is 0.2 eV/Angstrom.
    """
    original = CouplingSigns.__call__

    def wrong(self, *orders):
        low, middle, high = sorted(orders)
        return original(self, *orders) * (-1 if low == 1 and middle == high > 1 else 1)

    monkeypatch.setattr(CouplingSigns, "__call__", wrong)


#: eV/Angstrom: what forces on the chiral cluster are off by at least where signs are wrong.
SIGN_ERROR = 1e-8
