"""``equipot bench``: the speed of a potential against size and threads."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from equipot.cli.parser import (
    Parser,
    add_head_option,
    not_negative,
    positive,
    positive_integer,
    positive_integers,
)

EPILOG = """examples:
  equipot bench model.eqp
  equipot bench model.eqp cell.xyz --sizes 54 1000 100000 --threads 1,2
  equipot bench runs/quickstart --json > speed.json
  equipot bench model.eqp --output speed      speed/bench.json, bench.txt and bench.png

Each size is a supercell of the structure whose atoms vibrate as at 300 K; a step is energy and forces through the ASE
calculator with its neighbour list, as in molecular dynamics. Times are medians of steps after a warm-up.
"""


def parser(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the words after ``equipot bench``."""
    parser = Parser("equipot bench", epilog=EPILOG, description="Measure the speed of a potential on this CPU.")
    parser.add_argument("model", metavar="MODEL", help="a model file (.eqp) or a run folder")
    parser.add_argument(
        "structure",
        metavar="STRUCTURE",
        nargs="?",
        help="what supercells are made of (default: a crystal of the model's elements)",
    )
    parser.add_argument(
        "--sizes",
        type=positive_integer,
        nargs="+",
        metavar="N",
        help="numbers of atoms (default 50 250 1000 5000 20000)",
    )
    parser.add_argument(
        "--threads",
        type=positive_integers,
        metavar="N,N",
        help="numbers of threads, as in 1,2,4 (default: 1, and all cores)",
    )
    parser.add_argument(
        "--timestep", type=positive, default=1.0, metavar="FS", help="time step in fs, for ns/day (default 1)"
    )
    parser.add_argument("--stress", action="store_true", help="compute the stress too, as at constant pressure")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the network; default: the model's own")
    add_head_option(parser)
    parser.add_argument(
        "--kernels",
        choices=("auto", "native", "reference"),
        help="default: EQUIPOT_KERNELS of the environment, else auto",
    )
    parser.add_argument(
        "--skin",
        type=not_negative,
        default=0.5,
        metavar="A",
        help="skin of the neighbour list in Angstrom (default 0.5)",
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=3.0,
        metavar="S",
        help="about how long to measure each size and number of threads (default 3)",
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--output", metavar="FOLDER", help="write bench.json, bench.txt and bench.png there")
    parser.add_argument("--overwrite", action="store_true", help="replace files of an earlier benchmark")
    return parser.parse(arguments)


def outputs(arguments: argparse.Namespace) -> tuple[Sequence, Sequence]:
    """Name the files that are written."""
    return (), (arguments.output and f"{arguments.output}/bench.json",)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, write."""
    from equipot.report.files import refuse_existing
    from equipot.report.speed import speed_table
    from equipot.report.summary import to_json
    from equipot.report.tables import print_table
    from equipot.workflow.benchmark import SIZES, benchmark
    from equipot.workflow.evaluation import choose_model

    folder = None
    if arguments.output is not None:
        folder = Path(arguments.output).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("bench.json", "bench.txt", "bench.png"):
            refuse_existing(folder / name, overwrite=arguments.overwrite)
    result = benchmark(
        choose_model(arguments.model, arguments.head),
        arguments.structure,
        sizes=arguments.sizes or SIZES,
        threads=arguments.threads,
        dtype=arguments.dtype,
        kernels=arguments.kernels,
        skin=arguments.skin,
        stress=arguments.stress,
        timestep_fs=arguments.timestep,
        seconds=arguments.seconds,
    )
    if arguments.json:
        sys.stdout.write(to_json(result.as_document()))
    else:
        print_table(speed_table(result))
    if folder is not None:
        _write(folder, result)
        if not arguments.json:
            print(f"Table, numbers and plot: {folder}")
    return 0


def _write(folder: Path, result) -> None:
    from equipot.report.figures import save_figure
    from equipot.report.files import write_text
    from equipot.report.speed import speed_plot, speed_table
    from equipot.report.summary import to_json
    from equipot.report.tables import plain_text

    write_text(folder / "bench.json", to_json(result.as_document()))
    write_text(folder / "bench.txt", plain_text(speed_table(result)) + "\n")
    save_figure(speed_plot(result), folder / "bench.png")
