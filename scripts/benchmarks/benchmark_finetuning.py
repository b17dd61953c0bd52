"""Fine-tuning against training from scratch: error against number of frames, and what the base forgets meanwhile.

Two levels of theory without DFT: a second model (SevenNet-MF-0's r2SCAN head, say) labels rattled and strained TiO2 and
Ni-Al; a base of another level of theory (SevenNet-0, PBE) is tuned on a few of the frames in every mode, and a new
potential is trained on the same ones. With --data instead a published set stands in for the second model. Learning
rates come from --scan, which reads validation frames only; test frames are evaluated once a training.

    equipot convert sevennet 7net-0 -o base.eqp
    equipot convert sevennet 7net-mf-0 --head R2SCAN -o teacher.eqp
    python scripts/benchmarks/benchmark_finetuning.py base.eqp --teacher teacher.eqp --scan 0.001 0.003 0.01
    python scripts/benchmarks/benchmark_finetuning.py base.eqp --teacher t.eqp --learning-rates full=0.003 lora=0.01
    python scripts/benchmarks/benchmark_finetuning.py base.eqp --data mlearn_mo --frames 10 30 100

What was measured is kept in OUTPUT/results, a file a training: the same command goes on where it was stopped, and
writes tables, OUTPUT/benchmark.json and plots after every training.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from finetuning.results import describe, scan_table, write_results
from finetuning.runs import LEARNING_RATES, MODES, SCRATCH, Bench, Budget, Case
from finetuning.structures import SYSTEMS, Pool, labelled_pool, published_pool

from equipot.checkpoint import load_model
from equipot.data import read_frames
from equipot.errors import EquipotError
from equipot.finetuning.forgetting import held_out_domain
from equipot.report.tables import print_table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="model file that is tuned")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--teacher", type=Path, help="model file of another level of theory, which labels frames")
    source.add_argument("--data", type=Path, nargs="+", metavar="FOLDER", help="folders with frames (see --files)")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=["TiO2"], help="that the teacher labels")
    parser.add_argument(
        "--sizes",
        type=int,
        nargs=3,
        default=(256, 48, 96),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="frames that the teacher labels (default: 256 48 96)",
    )
    parser.add_argument(
        "--files",
        nargs=3,
        default=("train.xyz.xz", "val.xyz", "test.xyz"),
        metavar=("TRAIN", "VALIDATION", "TEST"),
        help="in the folders of --data",
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[4, 16, 64, 256], help="numbers of training frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of subsets and trainings")
    parser.add_argument("--modes", nargs="+", choices=[*MODES, SCRATCH], default=[*MODES, SCRATCH])
    parser.add_argument("--steps", type=int, default=150, help="optimiser steps from the base (default: 150)")
    parser.add_argument("--scratch-steps", type=int, default=2000, help="from random weights (default: 2000)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument(
        "--learning-rates",
        nargs="+",
        default=[],
        metavar="MODE=VALUE",
        help=f"default: {' '.join(f'{mode}={value:g}' for mode, value in LEARNING_RATES.items())}",
    )
    parser.add_argument(
        "--scan",
        type=float,
        nargs="+",
        metavar="VALUE",
        help="train with these learning rates on the first of --frames and --seeds, and show the "
        "errors on validation frames",
    )
    parser.add_argument("--prototypes", type=int, default=100, help="held-out crystals for forgetting (default: 100)")
    parser.add_argument(
        "--known",
        type=Path,
        help="labelled frames of the base's own level of theory, to see its errors there before and after",
    )
    parser.add_argument("--known-atoms", type=int, default=40, help="leave out larger ones of them (default: 40)")
    parser.add_argument("--keep-runs", action="store_true", help="keep the run folders")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark_finetuning"))
    args = parser.parse_args()
    args.rates = dict(LEARNING_RATES)
    for text in args.learning_rates:
        mode, _, value = text.partition("=")
        try:
            args.rates[mode if mode in LEARNING_RATES else parser.error(f"no mode {mode!r}")] = float(value)
        except ValueError:
            parser.error(f"--learning-rates {text}: expected MODE=NUMBER")
    return args


def pools(args: argparse.Namespace) -> list[Pool]:
    """The frames of every system."""
    if args.data:
        return [published_pool(folder, *args.files) for folder in args.data]
    teacher = load_model(args.teacher)
    return [labelled_pool(name, teacher, args.output / "frames", tuple(args.sizes)) for name in args.systems]


def scan(bench: Bench, args: argparse.Namespace, pool: Pool) -> None:
    rows = []
    for mode in args.modes:
        for rate in args.scan:
            rows.append(bench.run(Case(mode, args.frames[0], args.seeds[0], rate), pool, on_validation=True))
            print(describe(rows[-1]), flush=True)
    print_table(scan_table(rows))


def main() -> int:
    args = arguments()
    try:
        budget = Budget(args.steps, args.scratch_steps, args.batch_size)
        known = read_frames(args.known).frames if args.known else []
        bench = Bench(
            args.base,
            args.output,
            budget,
            held_out_domain(load_model(args.base), args.prototypes),
            [frame for frame in known if len(frame.atoms) <= args.known_atoms],
            args.keep_runs,
        )
        systems = pools(args)
        if args.scan:
            for pool in systems:
                scan(bench, args, pool)
            return 0
        begin = time.perf_counter()
        grid = [
            (pool, Case(mode, count, seed, args.rates[mode]))
            for pool in systems
            for seed in args.seeds
            for count in args.frames
            for mode in args.modes
        ]
        before = bench.base_on_known()
        for number, (pool, case) in enumerate(grid, 1):
            row = bench.run(case, pool)
            print(f"{number}/{len(grid)} {time.perf_counter() - begin:.0f} s: {describe(row)}", flush=True)
            tables = write_results(bench.measured(), before, bench.prototypes, args.output)
        for table in tables:
            print_table(table)
    except EquipotError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
