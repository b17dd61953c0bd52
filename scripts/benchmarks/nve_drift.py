"""Energy drift of a model in NVE molecular dynamics of a crystal: does it conserve what it claims to derive from?

A velocity Verlet trajectory at constant energy is run and a straight line fitted through the total energy. Forces that
are exactly -dE/dr leave fluctuations that shrink with the square of the timestep and no slope; a slope comes from
forces that are not a gradient, from jumps at the cutoff, or from rounding (compare --dtype float32 and float64). The
start is the perfect lattice with twice the kinetic energy of the temperature, half of which turns into potential
energy; that transient (--skip) is left out of the fit.

    python scripts/benchmarks/nve_drift.py runs/ta_snap/model.eqp --element Ta --lattice bcc --a 3.32 --repeat 5 \\
        --temperature 600 --picoseconds 10 --dtype float32

writes nve_drift.png, and beside it nve_drift.log (the table), .extxyz (first and last frame) and .restart: the same
command with --resume goes on where a run was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from matplotlib.figure import Figure

from equipot.errors import EquipotError, UsageError
from equipot.simulation.md import run_md
from equipot.simulation.md_config import MDConfig


def fit_line(time: np.ndarray, energy: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Slope of a straight line through energy against time, rms of what it leaves, and the line."""
    coefficients = np.polyfit(time, energy, 1)
    line = np.polyval(coefficients, time)
    return float(coefficients[0]), float(np.sqrt(np.mean((energy - line) ** 2))), line


def plot(path: Path, time: np.ndarray, energy: np.ndarray, is_fitted: np.ndarray, title: str) -> None:
    slope, _, line = fit_line(time[is_fitted], energy[is_fitted])
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(time, energy, lw=0.8, label="total energy")
    axes.plot(time[is_fitted], line, lw=1.5, label=f"line: {slope:+.4f} meV/atom/ps")
    axes.axvspan(time[0], time[is_fitted][0], color="0.9", label="not fitted")
    axes.set(xlabel="time (ps)", ylabel="total energy less its mean (meV/atom)", title=title)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model file")
    parser.add_argument("--element", default="Cu", help="default: Cu")
    parser.add_argument("--lattice", default="fcc", help="as ase.build.bulk calls it (default: fcc)")
    parser.add_argument("--a", type=float, help="lattice constant in A (default: ASE's table)")
    parser.add_argument("--repeat", type=int, default=4, help="cubic cells along each axis (default: 4)")
    parser.add_argument("--temperature", type=float, default=300.0, help="K, once in equilibrium (default: 300)")
    parser.add_argument("--picoseconds", type=float, default=10.0, help="default: 10")
    parser.add_argument("--timestep", type=float, default=1.0, help="fs (default: 1)")
    parser.add_argument("--skip", type=float, default=0.5, help="ps left out of the fit (default: 0.5)")
    parser.add_argument("--log-every", type=int, default=20, help="steps between points (default: 20)")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network (default: the model's own)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0, help="of the velocities")
    parser.add_argument("--output", type=Path, default=Path("nve_drift.png"), help="plot (default: nve_drift.png)")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier run")
    args = parser.parse_args()

    atoms = bulk(args.element, args.lattice, a=args.a, cubic=True) * args.repeat
    steps = round(1000 * args.picoseconds / args.timestep)
    config = MDConfig(
        ensemble="nve",
        steps=steps,
        timestep_fs=args.timestep,
        temperature=2 * args.temperature,
        seed=args.seed,
        log_every=args.log_every,
        trajectory_every=max(1, steps),
    )
    result = run_md(
        args.model,
        atoms,
        config,
        trajectory=args.output.with_suffix(".extxyz"),
        resume=args.resume,
        overwrite=args.overwrite,
        dtype=args.dtype,
        device=args.device,
    )

    rows = np.loadtxt(result.log, ndmin=2)
    time, total, temperature = rows[:, 1], rows[:, 4], rows[:, 6]
    is_fitted = time >= args.skip
    if is_fitted.sum() < 3:
        raise UsageError(
            f"{is_fitted.sum()} points after --skip {args.skip} ps are too few to fit a line to: run "
            "longer (the same command with --resume), or lower --skip or --log-every."
        )
    energy = 1000.0 * (total - total[is_fitted].mean()) / len(atoms)
    drift, fluctuation, _ = fit_line(time[is_fitted], energy[is_fitted])
    title = f"{len(atoms)} atoms {args.element}, {temperature[is_fitted].mean():.0f} K, {args.timestep:g} fs"
    plot(args.output, time, energy, is_fitted, title)
    print(f"{len(atoms)} atoms of {args.lattice} {args.element}, {result.time_ps:g} ps in {args.timestep:g} fs steps")
    print(f"mean temperature  {temperature[is_fitted].mean():10.1f} K")
    print(f"energy drift      {drift:10.5f} meV/atom/ps")
    print(f"fluctuation (rms) {fluctuation:10.5f} meV/atom")
    print(f"Wrote {args.output} and {result.log}")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"nve_drift: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
