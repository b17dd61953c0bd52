"""Compare values of one model option by training runs: the same data, seeds, schedule and number of steps.

The option is by default ``radial``: are radial functions tabulated as splines as accurate as networks evaluated on
every edge? Every recipe is trained once for each value and seed, the values of one seed in turn, and the test errors
(validation errors where a set has no test frames) are averaged over the seeds.

    EQUIPOT_DATA=... python scripts/benchmarks/compare_radial.py configs/mlearn_mo.yaml --steps 1500
    python scripts/benchmarks/compare_radial.py configs/quickstart.yaml --option radial_knots --values 32 128

The output folder gets a run folder for every training and ``comparison.json``; runs that are there already are read,
not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import equipot
from equipot.errors import EquipotError

ERRORS = {
    "energy_mae_mev_per_atom": "energy MAE (meV/atom)",
    "forces_mae_mev_per_angstrom": "forces MAE (meV/Å)",
    "stress_mae_gpa": "stress MAE (GPa)",
}


def train_once(recipe: Path, value: str, seed: int, args: argparse.Namespace) -> dict[str, float | None]:
    """Errors and CPU seconds of one training, from its file where it was done before."""
    folder = args.output / f"{recipe.stem}-{args.option}-{value}-seed{seed}"
    done = folder / "comparison_row.json"
    if done.exists():
        return json.loads(done.read_text())
    overrides = [
        *args.set,
        f"model.{args.option}={value}",
        f"seed={seed}",
        f"name={folder.name}",
        f"run_directory={folder}",
        "properties=[]",
    ]
    plan = equipot.train(recipe, overrides=[*overrides, "training.epochs=1"], dry_run=True, quiet=True)
    epochs = max(1, math.ceil(args.steps / plan.steps_per_epoch))
    clock = time.process_time()
    result = equipot.train(
        recipe,
        overrides=[*overrides, f"training.epochs={epochs}", f"training.evaluate_every={max(1, epochs // 10)}"],
        overwrite=True,
        quiet=True,
    )
    split = "test" if "test" in result.metrics else "validation"
    row = {name: result.metrics[split]["all"].get(name) for name in ERRORS}
    row |= {"split": split, "epochs": epochs, "cpu_s": time.process_time() - clock}
    done.write_text(json.dumps(row, indent=1))
    return row


def spread(values: list[float | None]) -> str:
    """Mean and standard deviation over the seeds."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return f"{statistics.mean(known):.3g} ± {deviation:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", type=Path, help="configurations as for 'equipot train'")
    parser.add_argument("--option", default="radial", help="key of the model section that differs")
    parser.add_argument("--values", nargs="+", default=["mlp", "spline"])
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps of every run (default: 1500)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for all runs")
    parser.add_argument("--output", type=Path, default=Path("runs/compare_radial"))
    args = parser.parse_args()
    console, rows = Console(), {}
    try:
        for recipe in args.recipes:
            for seed in range(args.seeds):
                for value in args.values:
                    row = train_once(recipe, value, seed, args)
                    rows.setdefault((recipe.stem, value), []).append(row)
                    console.print(
                        f"{recipe.stem}, {args.option} {value}, seed {seed}: "
                        + ", ".join(
                            f"{label} {row[name]:.4g}" for name, label in ERRORS.items() if row[name] is not None
                        )
                        + f", {row['cpu_s']:.0f} s"
                    )
    except EquipotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    table = Table(
        "recipe",
        args.option,
        "frames of",
        *ERRORS.values(),
        "CPU time (s)",
        title=f"mean ± standard deviation over {args.seeds} seeds, {args.steps} steps",
    )
    for (recipe, value), found in rows.items():
        table.add_row(
            recipe,
            value,
            found[0]["split"],
            *(spread([row[name] for row in found]) for name in ERRORS),
            spread([row["cpu_s"] for row in found]),
        )
    console.print(table)
    args.output.mkdir(parents=True, exist_ok=True)
    report = [{"recipe": recipe, args.option: value, "runs": found} for (recipe, value), found in rows.items()]
    (args.output / "comparison.json").write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
