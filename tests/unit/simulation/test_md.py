"""Molecular dynamics: physics of each ensemble, exact resume, clean stops, explosions, and files never half right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.harmonic import SpringCalculator
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import read, write

from equipot.checkpoint import tensor_file
from equipot.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    EquipotError,
    Interrupted,
    NumericalError,
    UsageError,
)
from equipot.interfaces.ase import Calculator
from equipot.simulation.dynamics import initial_velocities
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig
from tests.unit.interfaces.pair_potential import pair_potential

ENSEMBLES = ["nve", "nvt-langevin", "nvt-nose-hoover", "npt", "npt-c", "npt-full"]


def crystal() -> Atoms:
    return bulk("Ar", "fcc", a=3.6, cubic=True).repeat(2)


def settings(**changes) -> MDConfig:
    defaults = {
        "ensemble": "nve",
        "steps": 60,
        "timestep_fs": 4.0,
        "trajectory_every": 10,
        "log_every": 5,
        "restart_every": 20,
        "temperature": 200.0,
    }
    return MDConfig(**(defaults | changes))


def log_without_speed(path) -> list[list[str]]:
    return [line.split()[:-1] for line in path.read_text().splitlines()]


class StopsAfter(Calculator):
    """Sends a signal to its own process at a certain number of force evaluations, as a batch system would."""

    def __init__(self, model, evaluations):
        super().__init__(model)
        self.evaluations = evaluations

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.evaluations -= 1
        if self.evaluations == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(ensemble, tmp_path):
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = run_md(
        pair_potential(), crystal(), settings(ensemble=ensemble), trajectory=tmp_path / "whole" / "md.extxyz"
    )
    name = tmp_path / "parts" / "md.extxyz"
    with pytest.raises(Interrupted, match=r"SIGTERM after step \d+ of 60") as stopped:
        run_md(StopsAfter(pair_potential(), 38), crystal(), settings(ensemble=ensemble), trajectory=name)
    assert stopped.value.exit_code == 75
    # a calculator of the same potential; the class that stops has the same fingerprint
    parts = run_md(pair_potential(), crystal(), settings(ensemble=ensemble), trajectory=name, resume=True)
    assert np.array_equal(parts.atoms.positions, whole.atoms.positions)
    assert np.array_equal(parts.atoms.get_momenta(), whole.atoms.get_momenta())
    assert np.array_equal(parts.atoms.cell.array, whole.atoms.cell.array)
    assert name.read_bytes() == whole.trajectory.read_bytes()
    assert log_without_speed(parts.log) == log_without_speed(whole.log)
    frames = read(name, ":")
    assert [frame.info["step"] for frame in frames] == list(range(0, 61, 10))


@pytest.mark.parametrize("suffix", [".extxyz", ".traj"])
def test_a_killed_run_goes_on_from_its_last_restart_file_without_doubled_frames(suffix, tmp_path):
    whole = run_md(
        pair_potential(), crystal(), settings(ensemble="nvt-langevin"), trajectory=tmp_path / f"whole{suffix}"
    )

    class Killed(BaseException):
        pass

    class DiesAfter(StopsAfter):
        def calculate(self, *args, **kwargs):
            self.evaluations -= 1
            if self.evaluations == 0:
                raise Killed
            Calculator.calculate(self, *args, **kwargs)

    path = tmp_path / f"md{suffix}"
    with pytest.raises(Killed):
        run_md(DiesAfter(pair_potential(), 70), crystal(), settings(ensemble="nvt-langevin"), trajectory=path)
    steps = [frame.info["step"] for frame in read(path, ":")]
    assert steps[-1] > 40 or steps[-1] == 40  # frames beyond the restart file at step 40 or 20 may be there
    if suffix == ".extxyz":
        with path.open("a") as file:
            file.write("32\nhalf a fra")
    parts = run_md(pair_potential(), crystal(), settings(ensemble="nvt-langevin"), trajectory=path, resume=True)
    assert np.array_equal(parts.atoms.positions, whole.atoms.positions)
    frames, expected = read(path, ":"), read(whole.trajectory, ":")
    assert [frame.info["step"] for frame in frames] == [frame.info["step"] for frame in expected]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, expected))
    assert log_without_speed(parts.log) == log_without_speed(whole.log)


def test_a_finished_run_can_be_extended_and_not_restarted_by_accident(tmp_path):
    path = tmp_path / "md.extxyz"
    run_md(pair_potential(), crystal(), settings(steps=30), trajectory=path)
    with pytest.raises(UsageError, match="exist already"):
        run_md(pair_potential(), crystal(), settings(steps=60), trajectory=path)
    longer = run_md(pair_potential(), crystal(), settings(steps=60), trajectory=path, resume=True)
    whole = run_md(pair_potential(), crystal(), settings(steps=60), trajectory=tmp_path / "whole.extxyz")
    assert np.array_equal(longer.atoms.positions, whole.atoms.positions)
    assert path.read_bytes() == whole.trajectory.read_bytes()
    again = run_md(pair_potential(), crystal(), settings(steps=60), trajectory=path, resume=True)
    assert again.steps == 60 and path.read_bytes() == whole.trajectory.read_bytes()
    assert run_md(pair_potential(), crystal(), settings(steps=10), trajectory=path, overwrite=True).steps == 10
    assert len(read(path, ":")) == 2


def test_resume_refuses_what_is_not_the_same_run(tmp_path):
    path = tmp_path / "md.extxyz"
    run_md(pair_potential(), crystal(), settings(steps=20), trajectory=path)
    with pytest.raises(UsageError, match=r"timestep_fs = 4.0 and not 2.0"):
        run_md(pair_potential(), crystal(), settings(timestep_fs=2.0), trajectory=path, resume=True)
    with pytest.raises(UsageError, match="another potential"):
        run_md(pair_potential(epsilon=0.21), crystal(), settings(), trajectory=path, resume=True)
    with pytest.raises(UsageError, match="another structure"):
        run_md(pair_potential(), crystal().repeat((1, 1, 2)), settings(), trajectory=path, resume=True)
    restart = tmp_path / "md.restart"
    content = restart.read_bytes()
    restart.write_bytes(content[:-7])
    with pytest.raises(CheckpointError):
        run_md(pair_potential(), crystal(), settings(), trajectory=path, resume=True)
    restart.write_bytes(content)
    path.write_text("")
    with pytest.raises(CheckpointError, match="changed or removed"):
        run_md(pair_potential(), crystal(), settings(), trajectory=path, resume=True)


def _without(key):
    return lambda tensors, document: document.pop(key)


#: Changes of a restart file that carry a right hash.
MISFITS = [
    (_without("step"), "'step'"),
    (_without("config"), "'config'"),
    (_without("rng"), "'rng'"),
    (_without("torch"), "'torch'"),
    (lambda tensors, document: document.update(step=-1), "'step'"),
    (lambda tensors, document: document["rng"]["state"].update(inc="x"), "'rng'"),
    (lambda tensors, document: document.update(files={"log": 3}), "'files'"),
    (lambda tensors, document: tensors.pop("momenta"), "'momenta'"),
    (lambda tensors, document: tensors.update(positions=tensors["positions"][:1]), "'positions'"),
    (lambda tensors, document: tensors["momenta"].fill_(float("nan")), "'momenta'"),
    (lambda tensors, document: tensors["positions"].fill_(1e30), "too far from the origin"),
    (lambda tensors, document: tensors.update({"state/_eps": tensors["state/_eps"].float()}), "'state/_eps'"),
    (lambda tensors, document: tensors.pop("state/_eps"), "_eps"),
]


@pytest.mark.parametrize(("change", "part"), MISFITS, ids=[str(number) for number in range(len(MISFITS))])
def test_a_restart_file_of_another_content_is_refused_by_name(tmp_path, change, part):
    """Found by tests/robustness/fuzz_inputs.py: most of these ended in a traceback."""
    path, restart = tmp_path / "md.extxyz", tmp_path / "md.restart"
    npt = settings(steps=2, ensemble="npt")
    run_md(pair_potential(), crystal(), npt, trajectory=path)
    tensors, document = tensor_file.read(restart)
    change(tensors, document)
    tensor_file.write(restart, tensors, document)
    before = path.read_bytes(), restart.read_bytes()
    with pytest.raises(EquipotError) as caught:
        run_md(pair_potential(), crystal(), npt, trajectory=path, resume=True)
    assert part in str(caught.value) and str(restart) in str(caught.value) and "\n" not in str(caught.value)
    assert before == (path.read_bytes(), restart.read_bytes())


def test_resume_without_anything_to_resume_starts(tmp_path):
    result = run_md(pair_potential(), crystal(), settings(steps=10), trajectory=tmp_path / "md.traj", resume=True)
    assert result.steps == 10 and len(read(result.trajectory, ":")) == 2


def test_nve_conserves_energy_momentum_and_returns_when_reversed(tmp_path):
    result = run_md(
        pair_potential(),
        crystal(),
        settings(steps=300, timestep_fs=2.0, temperature=100.0),
        trajectory=tmp_path / "md.extxyz",
    )
    assert abs(result.drift_mev_per_atom_per_ps) < 0.01
    table = np.loadtxt(result.log)
    assert np.ptp(table[:, 4]) / len(result.atoms) < 1e-4  # E_tot, eV/atom
    assert np.abs(result.atoms.get_momenta().sum(axis=0)).max() < 1e-10
    assert table[-1, 0] == 300 and table[-1, 1] == 0.6


def test_velocity_verlet_is_reversible(tmp_path):
    start = crystal()
    there = run_md(pair_potential(), start, settings(steps=100), trajectory=tmp_path / "there.extxyz").atoms
    there.set_momenta(-there.get_momenta())
    back = run_md(pair_potential(), there, settings(steps=100), trajectory=tmp_path / "back.extxyz").atoms
    assert np.abs(back.positions - start.positions).max() < 1e-8


@pytest.mark.parametrize("ensemble", ["nvt-langevin", "nvt-nose-hoover"])
def test_thermostats_hold_the_temperature(ensemble, tmp_path):
    atoms = bulk("Cu", cubic=True).repeat(3)
    stiffness = np.random.default_rng(0).uniform(1.0, 6.0)  # eV/A^2
    result = run_md(
        SpringCalculator(atoms.positions, stiffness),
        atoms,
        settings(ensemble=ensemble, steps=3000, timestep_fs=2.0, trajectory_every=1000, restart_every=3000),
        trajectory=tmp_path / "md.extxyz",
    )
    table = np.loadtxt(result.log)[150:]
    assert table[:, 6].mean() == pytest.approx(200.0, rel=0.08)
    if ensemble == "nvt-langevin":
        first = read(result.trajectory, 0).get_center_of_mass()
        assert np.allclose(result.atoms.get_center_of_mass(), first, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["npt", "npt-c", "npt-full"])
def test_the_barostat_holds_pressure_and_temperature(ensemble, tmp_path):
    config = settings(ensemble=ensemble, steps=2500, pressure_gpa=2.0, barostat_time_fs=800.0, thermostat_time_fs=100.0)
    result = run_md(pair_potential(), crystal(), config, trajectory=tmp_path / "md.extxyz")
    table = np.loadtxt(result.log)[150:]
    assert table[:, 6].mean() == pytest.approx(200.0, rel=0.12)
    assert table[:, 7].mean() == pytest.approx(2.0, abs=0.6)
    assert np.ptp(table[:, 8]) > 1.0 and abs(result.drift_mev_per_atom_per_ps) < 1.0


def test_one_evaluation_a_step_in_every_ensemble(tmp_path):
    for ensemble in ENSEMBLES:
        calculator = Calculator(pair_potential())
        calls = []
        calculator.potential.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        run_md(
            calculator,
            crystal(),
            settings(ensemble=ensemble, steps=50, log_every=50, trajectory_every=50),
            trajectory=tmp_path / f"{ensemble}.extxyz",
        )
        assert 51 <= len(calls) <= 54


def test_initial_velocities_have_the_temperature_and_no_drift_or_rotation():
    config = settings(temperature=321.0)
    cluster = Atoms("Ar4", [[0, 0, 0], [2.6, 0, 0], [0, 2.6, 0], [0, 0, 2.6]])
    line = Atoms("Ar3", [[0, 0, 0], [2.6, 0, 0], [5.2, 0, 0]])
    for atoms in (crystal(), cluster, line):
        freedom = initial_velocities(atoms, config, np.random.default_rng(0))
        assert freedom.temperature(atoms) == pytest.approx(321.0)
        assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
        if not atoms.pbc.any():
            assert np.abs(atoms.get_angular_momentum()).max() < 1e-10
    before = crystal()
    before.set_momenta(np.ones((len(before), 3)))
    kept = before.copy()
    initial_velocities(kept, config, np.random.default_rng(0))
    assert np.array_equal(kept.get_momenta(), before.get_momenta())
    initial_velocities(kept, settings(new_velocities=True), np.random.default_rng(0))
    assert not np.array_equal(kept.get_momenta(), before.get_momenta())
    held = crystal()
    held.set_constraint(FixAtoms([0, 1]))
    initial_velocities(held, config, np.random.default_rng(0))
    assert not held.get_momenta()[:2].any() and held.get_temperature() == pytest.approx(321.0)


def test_fixed_atoms_stay_and_molecules_and_other_calculators_run(tmp_path):
    held = crystal()
    held.set_constraint(FixAtoms([0, 5]))
    result = run_md(pair_potential(), held, settings(ensemble="nvt-langevin"), trajectory=tmp_path / "held.traj")
    assert np.array_equal(result.atoms.positions[[0, 5]], held.positions[[0, 5]])
    cluster = Atoms("Ar3", [[0, 0, 0], [2.6, 0, 0], [1.3, 2.2, 0]])
    result = run_md(pair_potential(), cluster, settings(), trajectory=tmp_path / "cluster.extxyz")
    table = np.loadtxt(result.log)
    assert np.isnan(table[:, 7:9]).all() and np.isfinite(table[:, :7]).all()
    result = run_md(
        LennardJones(sigma=2.3, epsilon=0.2, rc=6.0), crystal(), settings(steps=5), trajectory=tmp_path / "ase.extxyz"
    )
    assert result.steps == 5


def test_files_say_what_they_hold(tmp_path):
    source = tmp_path / "start.extxyz"
    write(source, bulk("Ar", "fcc", a=3.6, cubic=True))
    lines = []
    result = run_md(
        pair_potential(),
        source,
        settings(supercell=(2, 2, 1), steps=20),
        report=lines.append,
        trajectory=tmp_path / "sub" / "md.extxyz",
    )
    assert len(result.atoms) == 16 and result.restart == tmp_path / "sub" / "md.restart"
    for unit in ("time/ps", "E_pot/eV", "T/K", "P/GPa", "V/A^3", "ns/day"):
        assert unit in lines[0]
    assert result.log.read_text().splitlines() == lines
    frame = read(result.trajectory, -1)
    assert frame.info["step"] == 20 and frame.info["time_ps"] == 0.08
    twin = frame.copy()
    twin.calc = Calculator(pair_potential())
    assert frame.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-6)
    assert np.allclose(frame.get_forces(), twin.get_forces(), atol=1e-6)
    assert np.allclose(frame.get_stress(), twin.get_stress(), atol=1e-6)
    assert np.allclose(frame.get_momenta(), result.atoms.get_momenta(), atol=1e-6)
    pressure = -np.trace(twin.get_stress(voigt=False)) / 3 + 2 * frame.get_kinetic_energy() / 3 / frame.get_volume()
    assert np.loadtxt(result.log)[-1, 7] == pytest.approx(pressure / units.GPa, abs=1e-3)


def test_an_explosion_is_named_with_its_step_and_the_last_good_frame_kept(tmp_path):
    path = tmp_path / "md.extxyz"
    with pytest.raises(NumericalError, match=r"failed at step \d+.*last-good") as error:
        run_md(pair_potential(), crystal(), settings(timestep_fs=200.0, temperature=2000.0), trajectory=path)
    assert "shorter timestep" in str(error.value)
    frame = read(tmp_path / "md.last-good.extxyz")
    assert np.isfinite(frame.positions).all() and f"step {frame.info['step'] + 1}:" in str(error.value)
    close = Atoms("Ar2", [[0, 0, 0], [2.4, 0, 0]])
    close.set_momenta([[600.0, 0, 0], [-600.0, 0, 0]])
    calculator = Calculator(pair_potential())
    with pytest.raises(NumericalError, match=r"failed at step 1"):
        run_md(
            calculator,
            close,
            settings(min_distance=2.0, max_temperature=1e9, timestep_fs=1.0),
            trajectory=tmp_path / "close.extxyz",
        )
    assert calculator.min_distance == 0.05


@pytest.mark.parametrize(
    ("structure", "changes", "words"),
    [
        (Atoms("Ar2", [[0, 0, 0], [2.6, 0, 0]]), {"ensemble": "npt"}, "periodic in three"),
        (Atoms("Ar2", [[0, 0, 0], [2.6, 0, 0]]), {"supercell": (2, 1, 1)}, "cannot be repeated"),
        (Atoms(), {}, "at least one atom"),
        (crystal(), {"ensemble": "npt", "temperature": 0.0}, "above 0 K"),
    ],
)
def test_ensembles_without_meaning_are_refused_and_leave_no_files(structure, changes, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        run_md(pair_potential(), structure, settings(**changes), trajectory=tmp_path / "md.extxyz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"friction_per_ps": 1.0},
        {"pressure_gpa": 1.0},
        {"thermostat_time_fs": 10.0},
        {"ensemble": "nvt"},
        {"timestep_fs": 0.0},
        {"supercell": (0, 1, 1)},
        {"steps": -1},
        {"temperature": float("nan")},
    ],
)
def test_settings_without_meaning_or_effect_are_refused(changes):
    with pytest.raises(ConfigError):
        settings(**changes)


def test_files_that_are_not_there_or_of_no_known_kind(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        run_md(pair_potential(), tmp_path / "nothing.extxyz", settings(), trajectory=tmp_path / "md.extxyz")
    (tmp_path / "broken.cif").write_text("nonsense")
    with pytest.raises(DataError, match="cannot be read as cif"):
        run_md(pair_potential(), tmp_path / "broken.cif", settings(), trajectory=tmp_path / "md.extxyz")
    with pytest.raises(UsageError, match="format"):
        run_md(pair_potential(), tmp_path / "model.pickle", settings(), trajectory=tmp_path / "md.extxyz")
    with pytest.raises(UsageError, match="trajectory is named"):
        run_md(pair_potential(), crystal(), settings(), trajectory=tmp_path / "md.dcd")
    with pytest.raises(UsageError, match="three different files"):
        run_md(pair_potential(), crystal(), settings(), trajectory=tmp_path / "md.xyz", log=tmp_path / "md.xyz")


def test_signal_handlers_are_put_back_and_a_second_signal_ends_at_once(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    run_md(pair_potential(), crystal(), settings(steps=2), trajectory=tmp_path / "md.extxyz")
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    program = textwrap.dedent("""
        import os, signal
        from equipot.system.signals import stop_on_signal
        with stop_on_signal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signal_name == "SIGINT"
            os.kill(os.getpid(), signal.SIGINT)
            print("still here")
    """)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert finished.returncode == -signal.SIGINT and "still here" not in finished.stdout


def test_a_resume_under_another_version_is_said(tmp_path, caplog):
    path, restart = tmp_path / "md.extxyz", tmp_path / "md.restart"
    run_md(pair_potential(), crystal(), settings(steps=4, ensemble="npt"), trajectory=path)
    for change, words in (
        (lambda document: document.update(equipot="0.0.7"), "equipot 0.0.7"),
        (lambda document: document.pop("equipot"), "counted 3N degrees"),
    ):
        tensors, document = tensor_file.read(restart)
        change(document)
        tensor_file.write(restart, tensors, document)
        caplog.clear()
        run_md(pair_potential(), crystal(), settings(steps=6, ensemble="npt"), trajectory=path, resume=True)
        assert words in caplog.text
