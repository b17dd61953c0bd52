"""The driver without a plugin gives the numbers of the ASE calculator."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.io import write

from equipot import checkpoint
from equipot.cli.main import main
from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps.inputs import lammps_box
from tests.systems import make_potential
from tests.unit.interfaces.test_lammps_inputs import skewed

MPIRUN = shutil.which("mpirun", path=str(Path(sys.executable).parent)) or shutil.which("mpirun")
pytestmark = pytest.mark.skipif(
    MPIRUN is None or find_spec("lammps") is None or find_spec("mpi4py") is None,
    reason="LAMMPS or mpi4py is not installed: pip install 'equipot[lammps]'",
)


def slab():
    atoms = fcc111("Cu", (2, 2, 2), a=3.7, periodic=False)
    atoms.pbc = (True, True, False)
    atoms.rattle(0.1, seed=3)
    return atoms


@pytest.mark.parametrize(("make", "ranks"), [(skewed, 1), (skewed, 2), (slab, 2), (lambda: molecule("CH3OH"), 2)])
def test_it_gives_what_ase_gives(make, ranks: int, tmp_path: Path) -> None:
    atoms = make()
    checkpoint.save_model(tmp_path / "model.eqp", make_potential("nequip spline"))
    write(tmp_path / "cell.traj", atoms)
    main(["lammps", "input", str(tmp_path / "model.eqp"), str(tmp_path / "cell.traj"), "-o", str(tmp_path)])
    path = tmp_path / "in.lammps"
    path.write_text(
        path.read_text().split("\nvelocity ")[0]
        + """
thermo_style custom pe press vol
run 0
print "ENERGY $(pe:%.16g) $((pxx+pyy+pzz)*vol:%.16g)"
write_dump all custom f.dump id fx fy fz modify sort id format float %.16g
"""
    )
    command = [MPIRUN, "-np", str(ranks), sys.executable, "-m", "equipot.interfaces.lammps.driver", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    words = next(line for line in done.stdout.splitlines() if line.startswith("ENERGY")).split()
    rotation = lammps_box(atoms).rotation
    atoms.calc = Calculator(tmp_path / "model.eqp")
    assert abs(float(words[1]) - atoms.get_potential_energy()) / len(atoms) < 1e-10
    forces = np.loadtxt(tmp_path / "f.dump", skiprows=9)[:, 1:]
    assert np.abs(forces - atoms.get_forces() @ rotation).max() < 1e-8
    if all(atoms.pbc):
        expected = -atoms.get_stress()[:3].sum() * atoms.get_volume() * 1.6021765e6
        assert float(words[2]) == pytest.approx(expected, rel=1e-6)


def test_virials_of_atoms_it_does_not_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in.lammps").write_text("units metal\ncompute s all stress/atom NULL virial\n")
    command = [MPIRUN, "-np", "1", sys.executable, "-m", "equipot.interfaces.lammps.driver", "in.lammps"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "has no energies and virials of atoms, and `compute s all stress/atom NULL virial` would" in done.stderr
