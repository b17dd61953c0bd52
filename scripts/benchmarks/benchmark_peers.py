"""equipot against its peers on this CPU: inference and training, side by side in one run.

mace-torch, nequip (eager and, with --compiled, its compile modes) and sevenn are installed into virtual environments
of their own. Every package builds a matched model with random weights (same channels, orders, layers, cutoff, radial
networks, correlation; where functions differ the notes say how), runs in a long-lived process, and is asked in turn
A B C A B C on the same structures: inference by each package's ASE calculator, neighbour list included, on positions
that move, and training steps on batches made before. The published SNAP for tantalum in LAMMPS is the price to beat.

    python scripts/benchmarks/benchmark_peers.py --quick                 # the most telling cases, one thread, float32
    python scripts/benchmarks/benchmark_peers.py --compiled --markdown table.md --json table.json
    python scripts/benchmarks/benchmark_peers.py --only mace-torch ta250 train-ta54 --sizes S
    python scripts/benchmarks/benchmark_peers.py --sizes converted --threads 1  # pretrained models

Compile modes take minutes for each model; what is exported for inference is kept in the folder of the environments.
The size "converted" is the same function in two packages: SevenNet-0 and a model of MACE-MP-0's shape, taken in by
equipot convert, each against the package it comes from.
A package that cannot be installed, built or run is reported with its error, the others go on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from peers.environments import PACKAGES
from peers.matched import ARCHITECTURES, CONVERTED, SIZES
from peers.plan import Plan, measure
from peers.structures import BATCHES, STRUCTURES
from peers.table import make_tables, markdown, notes

from equipot.report.tables import print_table

CASES = (*STRUCTURES, *BATCHES)
MODELS = (*SIZES, CONVERTED)
QUICK = {"cases": ("ta54", "ta250", "train-ta54", "nacl64"), "dtypes": ("float32",), "threads": (1,), "repeats": 3}


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path.home() / ".cache" / "equipot-benchmark",
        help="folder of the virtual environments, made if absent (default: ~/.cache/equipot-benchmark)",
    )
    parser.add_argument(
        "--torch-index",
        metavar="URL",
        help="package index for torch in them, such as https://download.pytorch.org/whl/cpu for builds "
        "without CUDA (default: pip's own)",
    )
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK['cases'])}; one thread, float32")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=(*PACKAGES, *CASES),
        help=f"of the packages {', '.join(PACKAGES)} and the cases {', '.join(CASES)}; equipot always runs",
    )
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--sizes", nargs="+", default=MODELS, choices=MODELS, help="default: all")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), help="default: both")
    parser.add_argument("--threads", nargs="+", type=int, help="default: 1 2")
    parser.add_argument("--compiled", action="store_true", help="also nequip's compile modes (minutes a model)")
    parser.add_argument(
        "--radial",
        nargs="+",
        default=[""],
        metavar="KIND",
        help="radial functions of equipot, such as mlp spline; several are measured as variants "
        "(default: equipot's own default)",
    )
    parser.add_argument(
        "--kernels",
        nargs="+",
        default=[""],
        choices=("auto", "native", "reference"),
        help="equipot's kernels; several are measured as variants (default: equipot's own default)",
    )
    parser.add_argument("--repeats", type=int, help="turns of every package in a case (default: 7; quick: 3)")
    parser.add_argument("--turn", type=float, default=0.5, metavar="SECONDS", help="length of a turn (default: 0.5)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="after which a package counts as hung (default: 1800)",
    )
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables and notes to this file")
    args = parser.parse_args(words)
    chosen = [name for name in args.only if name in PACKAGES]
    args.packages = [
        name for name in chosen or PACKAGES if name != "nequip-compiled" or args.compiled or name in chosen
    ]
    args.cases = [name for name in args.only if name in CASES] or list(QUICK["cases"] if args.quick else CASES)
    for name, default in (("dtypes", ("float32", "float64")), ("threads", (1, 2)), ("repeats", 7)):
        if getattr(args, name) is None:
            setattr(args, name, QUICK[name] if args.quick else default)
    if args.repeats < 1 or min(args.threads) < 1 or args.turn <= 0:
        parser.error("--repeats and --threads need whole numbers of 1 or more, --turn a positive time")
    return args


def main() -> None:
    args = arguments()
    groups = [
        dict(zip(("architecture", "size", "dtype", "threads"), values))
        for values in itertools.product(args.architectures, args.sizes, args.dtypes, args.threads)
    ]
    plan = Plan(
        groups, args.packages, args.cases, [(radial, kernels) for radial in args.radial for kernels in args.kernels]
    )

    def save(document: dict) -> None:
        """After every group, so that an interrupted run leaves what it had."""
        if args.json:
            args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if args.markdown:
            args.markdown.write_text(markdown(document), encoding="utf-8")

    document = measure(plan, args, save)
    for table in make_tables(document["rows"]):
        print_table(table)
    print("\n".join(notes(document)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
