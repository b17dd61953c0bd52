"""Relaxation and molecular dynamics with ASE: the calculator in the places where a potential is used.

A crystal is relaxed with its cell (lattice constant, pressure), a vacancy is cut out of a supercell and relaxed at
fixed cell (its formation energy), and the defective crystal is run at constant energy (NVE) and then in a heat bath
(Langevin). Each part is plain ASE: take what you need. To measure the drift of the energy use nve_drift.py.

    python scripts/examples/md_and_relaxation.py runs/quickstart/model.eqp --element Cu --lattice fcc --a 3.6
    python scripts/examples/md_and_relaxation.py emt --element Cu            # the same with ASE's EMT potential
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixCom
from ase.filters import FrechetCellFilter
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE

import equipot
from equipot.errors import EquipotError


def pressure(atoms: Atoms, *, kinetic: bool = False) -> float:
    """In GPa, positive under compression; with ``kinetic`` the ideal-gas part is included."""
    return -atoms.get_stress(include_ideal_gas=kinetic)[:3].mean() / units.GPa


def relax(atoms: Atoms, *, cell: bool, fmax: float, steps: int) -> None:
    """Bring atoms to rest: FIRE with the cell (robust far from the minimum), BFGS without."""
    optimizer = FIRE(FrechetCellFilter(atoms), logfile=None) if cell else BFGS(atoms, logfile=None)
    converged = optimizer.run(fmax=fmax, steps=steps)
    largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
    print(
        f"  {'relaxed' if converged else 'NOT CONVERGED'} after {optimizer.nsteps} steps: "
        f"largest force {largest:.2e} eV/A, pressure {pressure(atoms):.4f} GPa"
    )


def run(dynamics: MolecularDynamics, atoms: Atoms, steps: int, trajectory: Trajectory) -> None:
    """Run and print ten rows; then the means of the second half and the slope of the total energy in it."""
    rows = []

    def record() -> None:
        rows.append(
            (
                dynamics.get_time() / (1000 * units.fs),
                atoms.get_total_energy(),
                atoms.get_temperature(),
                pressure(atoms, kinetic=True),
            )
        )

    def show() -> None:
        time, energy, temperature, present = rows[-1]
        print(f"  {time:9.4f} {energy:15.6f} {temperature:8.1f} {present:9.3f}", flush=True)
        trajectory.write(atoms)

    dynamics.attach(record, interval=max(1, steps // 200))
    dynamics.attach(show, interval=max(1, steps // 10))
    print("    time/ps        E_tot/eV      T/K     P/GPa")
    dynamics.run(steps)
    time, energy, temperature, present = np.array(rows[len(rows) // 2 :]).T
    if isinstance(dynamics, VelocityVerlet):  # a heat bath does not conserve it
        print(f"  energy drift {np.polyfit(time, energy, 1)[0] / len(atoms) * 1000:.4f} meV/atom/ps")
    print(f"  mean temperature {temperature.mean():.1f} K, mean pressure {present.mean():.3f} GPa")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file, or emt for ASE's EMT potential")
    parser.add_argument("--element", default="Cu", help="default: Cu")
    parser.add_argument("--lattice", default="fcc", help="as ase.build.bulk calls it (default: fcc)")
    parser.add_argument("--a", type=float, help="guess of the lattice constant in A (default: ASE's table)")
    parser.add_argument("--repeat", type=int, default=3, help="cubic cells along each axis (default: 3)")
    parser.add_argument("--fmax", type=float, default=0.01, help="eV/A that count as rest (default: 0.01)")
    parser.add_argument("--relax-steps", type=int, default=300, help="at most (default: 300)")
    parser.add_argument("--temperature", type=float, default=300.0, help="K (default: 300)")
    parser.add_argument("--steps", type=int, default=1000, help="MD steps of each part (default: 1000)")
    parser.add_argument("--timestep", type=float, default=2.0, help="fs (default: 2)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network (default: the model's own)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0, help="of velocities and noise")
    parser.add_argument("--output", default="md.traj", help="frames of both runs (default: md.traj); it is replaced")
    args = parser.parse_args()
    calculator = EMT() if args.model == "emt" else equipot.Calculator(args.model, device=args.device, dtype=args.dtype)

    print(f"{args.lattice} {args.element}, cell and positions")
    crystal = bulk(args.element, args.lattice, a=args.a, cubic=True)
    crystal.calc = calculator
    relax(crystal, cell=True, fmax=args.fmax, steps=args.relax_steps)
    per_atom = crystal.get_potential_energy() / len(crystal)
    print(f"  lattice constant {crystal.cell.lengths()[0]:.4f} A, energy {per_atom:.4f} eV/atom")

    atoms = crystal * args.repeat
    del atoms[0]
    atoms.calc = calculator
    print(f"Vacancy, {len(atoms)} atoms")
    relax(atoms, cell=False, fmax=args.fmax, steps=args.relax_steps)
    print(f"  formation energy {atoms.get_potential_energy() - len(atoms) * per_atom:.4f} eV")

    # A crystal at rest: half of the kinetic energy turns into potential energy, so it starts with twice as much.
    generator = np.random.default_rng(args.seed)
    masses = atoms.get_masses()[:, None]
    momenta = generator.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * 2 * args.temperature)
    atoms.set_constraint(FixCom())
    atoms.set_momenta(momenta)  # less that of the centre of mass, which the constraint holds
    with Trajectory(args.output, "w") as trajectory:
        print("NVE (velocity Verlet)")
        run(VelocityVerlet(atoms, args.timestep * units.fs), atoms, args.steps, trajectory)
        print("NVT (Langevin)")
        bath = {"temperature_K": args.temperature, "friction": 0.01 / units.fs, "rng": generator, "fixcm": False}
        run(Langevin(atoms, args.timestep * units.fs, **bath), atoms, args.steps, trajectory)
    print(f"Wrote {args.output}")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"md_and_relaxation: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
