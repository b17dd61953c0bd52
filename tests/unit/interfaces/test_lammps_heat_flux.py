"""The heat flux in LAMMPS: compute heat/flux with compute centroid/stress/atom, against the calculator and motion."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps.doctor import BAR_PER_EV_ANGSTROM3
from equipot.interfaces.lammps.inputs import lammps_box
from tests.tolerances import HEAT_FLUX_DIFFERENCE, TWIN
from tests.unit.interfaces.test_lammps_pair import (
    CASES,
    HEAT_FLUX,
    Lammps,
    elements_of,
    lammps,
    potential,
    pytestmark,
    table,
)

__all__ = ["lammps", "pytestmark"]

CENTROID = HEAT_FLUX.format(stress="centroid/stress/atom")
VIRIALS = "write_dump all custom w.dump id vx vy vz c_s[*] modify sort id format float %.16g\n"
#: xx yy zz xy xz yz yx zx zy
ORDER = ([0, 1, 2, 0, 0, 1, 1, 2, 2], [0, 1, 2, 1, 2, 2, 0, 0, 1])
MOVING = "velocity all create 900 {seed} mom no loop geom\n"


def flux_of(said: str) -> np.ndarray:
    return np.array([line.split()[1:4] for line in table(said)], dtype=float)


def dumped(lammps: Lammps) -> tuple[np.ndarray, np.ndarray]:
    """Velocities in Angstrom/ps and virials (N, 3, 3) in eV."""
    rows = np.loadtxt(lammps.folder / "w.dump", skiprows=9, ndmin=2)
    virials = np.empty((len(rows), 3, 3))
    virials[:, ORDER[0], ORDER[1]] = rows[:, 4:] / -BAR_PER_EV_ANGSTROM3
    return rows[:, 1:4], virials


@pytest.mark.parametrize("name", ["skewed cell", "cell below the cutoff", "molecule"])
def test_it_is_the_calculators(lammps: Lammps, name: str) -> None:
    atoms = CASES[name]()
    calculator, rotation = Calculator(potential()), lammps_box(atoms).rotation
    expected = rotation.T @ calculator.get_centroid_virials(atoms) @ rotation
    text = (
        lammps.structure(atoms)
        + lammps.pair(elements_of(atoms))
        + MOVING.format(seed=7)
        + CENTROID
        + "thermo_modify norm no format float %.16g\nrun 0\n"
        + VIRIALS
    )
    for ranks in (1, 2):
        flux = flux_of(lammps.run(text, ranks))[-1]
        velocities, virials = dumped(lammps)
        np.testing.assert_allclose(virials, expected, rtol=0, atol=1e-8)
        moving = atoms.copy()
        moving.set_velocities(velocities @ rotation.T / (1000 * units.fs))
        moving.set_masses([units_mass(lammps, symbol) for symbol in moving.symbols])
        wanted = calculator.get_heat_flux(moving) * 1000 * units.fs @ rotation
        np.testing.assert_allclose(flux, wanted, rtol=1e-5, atol=1e-5)


def units_mass(lammps: Lammps, symbol: str) -> float:
    """The mass in the data file."""
    found = re.search(rf"^ *\d+ +(\S+) +# {symbol}$", (lammps.folder / "cell.data").read_text(), re.MULTILINE)
    return float(found.group(1))


def cluster() -> Atoms:
    """Held together where random weights would not: a piece of a crystal, hardly moving."""
    atoms = bulk("Cu", cubic=True, a=3.8) * (2, 2, 2)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.1, seed=6)
    atoms.pbc, atoms.cell = False, None
    return atoms


BARYCENTER = """variable ex atom x*(c_ke+c_pe)
variable ey atom y*(c_ke+c_pe)
variable ez atom z*(c_ke+c_pe)
compute B all reduce sum v_ex v_ey v_ez
thermo_style custom step c_J[1] c_J[2] c_J[3] c_B[1] c_B[2] c_B[3]
thermo_modify norm no format float %.16g
timestep {step}
thermo 1
fix nve all nve
run 8
"""


def deviation_from_motion(said: str, step: float) -> float:
    """Largest |J - d/dt sum_i r_i e_i| over the largest |J|."""
    rows = np.array([line.split() for line in table(said)], dtype=float)
    flux, barycenter = rows[:, 1:4], rows[:, 4:7]
    rate = (barycenter[2:] - barycenter[:-2]) / (2 * step)
    return float(np.abs(flux[1:-1] - rate).max() / np.abs(flux).max())


def motion(lammps: Lammps, pair: str, step: float, atoms: Atoms) -> str:
    return lammps.structure(atoms) + pair + MOVING.format(seed=3) + CENTROID + BARYCENTER.format(step=step)


@pytest.mark.parametrize("ranks", [1, 2])
def test_it_is_the_motion_of_a_clusters_energy(lammps: Lammps, ranks: int) -> None:
    atoms, step = cluster(), 1e-5
    said = lammps.run(motion(lammps, lammps.pair(elements_of(atoms)), step, atoms), ranks)
    assert deviation_from_motion(said, step) < HEAT_FLUX_DIFFERENCE


def test_of_a_committee_and_beside_another_style(lammps: Lammps) -> None:
    """The mean over a committee; pairs of the other style are shared by their atoms."""
    atoms, step = cluster(), 1e-5
    names = elements_of(atoms)
    committee = f"pair_style equipot\npair_coeff * * {lammps.model(names, 0)} {lammps.model(names, 1)} {names}\n"
    said = lammps.run(motion(lammps, committee, step, atoms), 2)
    assert deviation_from_motion(said, step) < HEAT_FLUX_DIFFERENCE
    first, second, both = (
        dumped_after(lammps, lammps.structure(atoms) + pair)
        for pair in (lammps.pair(names), lammps.pair(names, 1), committee)
    )
    np.testing.assert_allclose(both, (first + second) / 2, rtol=0, atol=1e-8)
    overlay = (
        f"pair_style hybrid/overlay equipot zbl 5.0 6.0\npair_coeff * * equipot {lammps.model(names)} {names}\n"
        "pair_coeff 1 1 zbl 29 29\npair_coeff 1 2 zbl 29 79\npair_coeff 2 2 zbl 79 79\n"
    )
    said = lammps.run(motion(lammps, overlay, step, atoms), 2)
    assert deviation_from_motion(said, step) < HEAT_FLUX_DIFFERENCE


def dumped_after(lammps: Lammps, text: str) -> np.ndarray:
    lammps.run(text + CENTROID + "run 0\n" + VIRIALS)
    return dumped(lammps)[1]


def test_float32_and_a_change_of_what_is_computed(lammps: Lammps) -> None:
    """Steps with and without the flux in one run; forces do not depend on it."""
    atoms = CASES["alloy"]()
    names = elements_of(atoms)
    pair = f"pair_style equipot\npair_coeff * * {lammps.model(names, dtype='float32')} {names}\n"
    text = lammps.structure(atoms) + pair + "run 0\n" + CENTROID + "run 0\n" + VIRIALS
    exact = dumped_after(lammps, lammps.structure(atoms) + lammps.pair(names))
    lammps.run(text, 2)
    assert np.abs(dumped(lammps)[1] - exact).max() < TWIN.f * max(1.0, np.abs(exact).max())


def test_what_cannot_be_told_apart_is_warned_of(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    text = lammps.structure(atoms) + lammps.pair(elements_of(atoms)) + CENTROID
    warning = "WARNING: pair_style equipot: compute heat/flux is right with compute centroid/stress/atom only"
    assert warning not in lammps.run(text + "run 0\n")
    assert warning in lammps.run(text + "compute half all stress/atom NULL virial\nrun 0\n")
