"""The learning curve: test errors against the number of training frames, with the exponent of their decay.

Every subset holds the smaller ones, all are judged by the same test frames, share their atomic energies, and are
trained for the same number of steps, so that only the frames differ. A straight line in the log-log plot promises that
more frames help; a plateau says that labels, cutoff or architecture limit the error.

    python scripts/examples/learning_curve.py                              # Cu-Au frames made on the spot
    python scripts/examples/learning_curve.py --frames frames.xyz --sizes 25 50 100 200 400 --steps 5000

The output folder gets learning_curve.json, learning_curve.png and a run folder with a model for every size.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from equipot.checkpoint import RunDirectory
from equipot.config import from_dict
from equipot.data import DataSets, compute_statistics, load_datasets
from equipot.errors import EquipotError
from equipot.models import PotentialConfig, build_potential, resolve_options
from equipot.training import evaluate, fit, make_progress, resolve_device

ERRORS = {
    "energy_mae_mev_per_atom": "energy MAE (meV/atom)",
    "forces_mae_mev_per_angstrom": "forces MAE (meV/Å)",
    "stress_mae_gpa": "stress MAE (GPa)",
}


def train_on(sets: DataSets, num_frames: int, order: np.ndarray, args: argparse.Namespace) -> dict[str, float | None]:
    """Train on the first frames of an order and return the errors on the test frames."""
    frames = [sets.train[k] for k in order[:num_frames]]
    statistics = compute_statistics(frames, sets.atomic_energies.values)
    epochs = math.ceil(args.steps / math.ceil(num_frames / args.batch_size))
    config = from_dict(
        {
            "seed": args.seed,
            "device": args.device,
            "training": {"epochs": epochs, "batch_size": args.batch_size, "evaluate_every": math.ceil(epochs / 50)},
        }
    )
    options = {} if args.channels is None else {"num_channels": args.channels}
    potential = build_potential(
        PotentialConfig(
            architecture=args.architecture,
            elements=sets.elements,
            cutoff=args.cutoff,
            avg_num_neighbors=statistics.avg_num_neighbors,
            options=resolve_options(args.architecture, "small", options),
        ),
        atomic_energies=sets.atomic_energies.values,
        scale=statistics.forces_rms,
        shift=statistics.energy_mean_per_atom_after_e0,
        seed=args.seed,
    )
    run = RunDirectory(args.output / f"{num_frames}_frames")
    with run.create(overwrite=args.overwrite):
        result = fit(
            potential,
            dataclasses.replace(sets, train=frames, statistics=statistics),
            config,
            run,
            progress=make_progress(),
        )
    device = resolve_device(args.device)
    return evaluate(result.potential.to(device), sets.test, device=device).metrics["all"]


def exponent(sizes: list[int], errors: list[float]) -> float:
    """The power of the number of frames that the error follows (least squares in the logarithms)."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def plot(path: Path, sizes: list[int], curves: dict[str, list[float]]) -> None:
    figure = Figure(figsize=(4 * len(curves), 3.5), layout="constrained")
    for axes, (name, errors) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items()):
        axes.loglog(sizes, errors, "o-")
        axes.set(xlabel="training frames", ylabel=ERRORS[name], title=f"exponent {exponent(sizes, errors):.2f}")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", help="file of labelled frames (default: Cu-Au frames labelled with EMT)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[15, 30, 60, 120, 240], help="numbers of frames")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps for every size (default: 1500)")
    parser.add_argument("--batch-size", type=int, default=5, help="frames a step (default: 5)")
    parser.add_argument("--architecture", default="nequip", help="default: nequip")
    parser.add_argument("--channels", type=int, help="width of the network (default: that of the preset small)")
    parser.add_argument("--cutoff", type=float, default=5.0, help="in A (default: 5)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=0, help="of split, order of the frames, weights and batches")
    parser.add_argument("--output", type=Path, default="learning_curve", help="folder (default: learning_curve)")
    parser.add_argument("--overwrite", action="store_true", help="replace the runs in that folder")
    args = parser.parse_args()

    data = {"train": [args.frames]} if args.frames else {"generate": "cu_au_emt"}
    sets = load_datasets(from_dict({"data": {**data, "split": {"seed": args.seed}}}).data, args.cutoff)
    sizes = sorted(set(args.sizes))
    if len(sizes) < 2 or sizes[0] < 1 or sizes[-1] > len(sets.train):
        parser.error(f"--sizes needs two or more numbers from 1 to {len(sets.train)}, the training frames there are")
    if not sets.test:
        parser.error(f"{args.frames} is too small to set test frames aside")
    order = np.random.default_rng(args.seed).permutation(len(sets.train))
    results = [train_on(sets, size, order, args) for size in sizes]

    curves = {name: [errors[name] for errors in results] for name in ERRORS if results[0][name] is not None}
    print(f"\n{len(sets.test)} test frames\n{'frames':>8}" + "".join(f"{ERRORS[name]:>24}" for name in curves))
    for k, size in enumerate(sizes):
        print(f"{size:8d}" + "".join(f"{curve[k]:24.3f}" for curve in curves.values()))
    exponents = {name: exponent(sizes, curve) for name, curve in curves.items()}
    print("exponent" + "".join(f"{value:24.2f}" for value in exponents.values()))
    document = {
        "sizes": sizes,
        "test": results,
        "exponents": exponents,
        "num_test_frames": len(sets.test),
        "arguments": {name: str(value) for name, value in vars(args).items()},
    }
    (args.output / "learning_curve.json").write_text(json.dumps(document, indent=1) + "\n")
    plot(args.output / "learning_curve.png", sizes, curves)
    print(f"Wrote {args.output / 'learning_curve.json'} and {args.output / 'learning_curve.png'}")


if __name__ == "__main__":
    try:
        main()
    except EquipotError as error:
        print(f"learning_curve: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
