"""Feed the readers ten thousand mutated files, in bounded time and memory, and count what becomes of them.

Structure files, configurations, model files, checkpoints and models of other packages are mutated, each by random
numbers of its own (``--seed``), and read by worker processes with limits on time and memory. A file is read with the
meaning it had, read as what it says now (held against a second, naive reading), or refused in one sentence that names
it. Anything else is a defect: another exception, a wrong number, a crash, a file that takes too long or too much, or
one that makes something be written. The files of defects are kept. A run that was stopped goes on where it was.

    python -m tests.robustness.fuzz_inputs                            # all, into fuzzed/ (half an hour on two cores)
    python -m tests.robustness.fuzz_inputs --files 500 --seed 7       # a sample: so many files in all
    python -m tests.robustness.fuzz_inputs --only "model file" "OUTCAR" --overwrite
    python -m tests.robustness.fuzz_inputs --show "OUTCAR" 17         # make one file again and read it with a traceback
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from itertools import chain, zip_longest
from pathlib import Path

from equipot.errors import EquipotError, UsageError
from equipot.report.tables import print_table
from equipot.system.threads import set_threads
from tests.robustness.fuzzing import pool
from tests.robustness.fuzzing.group import DEFECT, Group
from tests.robustness.fuzzing.kinds import ALL, prepare
from tests.robustness.fuzzing.table import document, markdown, table


def tasks(groups: list[Group], files: int | None) -> list[tuple[str, int]]:
    """(group, number) of every file, the groups in turn; ``files`` are shared out by the sizes of the groups."""
    total = sum(group.number for group in groups)
    share = 1.0 if files is None else files / total
    lists = [[(group.name, number) for number in range(max(1, round(share * group.number)))] for group in groups]
    return [task for task in chain.from_iterable(zip_longest(*lists)) if task is not None]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [group.name for group in ALL]
    parser.add_argument("--files", type=int, metavar="N", help=f"in all (default: {sum(g.number for g in ALL)})")
    parser.add_argument("--only", nargs="+", metavar="KIND", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--processes", type=int, default=1, help="workers (default: 1)")
    parser.add_argument("--output", type=Path, default=Path("fuzzed"), help="folder (default: fuzzed)")
    parser.add_argument("--overwrite", action="store_true", help="begin again instead of going on")
    parser.add_argument("--show", nargs=2, metavar=("KIND", "NUMBER"), help="make and read one file, in this process")
    return parser.parse_args()


def show(args: argparse.Namespace) -> int:
    """One file, with the traceback it may have."""
    group = next((group for group in ALL if group.name == args.show[0]), None)
    if group is None or not args.show[1].isdigit():
        raise UsageError(f"--show needs a kind ({', '.join(g.name for g in ALL)}) and a number.")
    prepare([group], args.output / "seeds")
    folder = args.output / "shown"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = group.make(pool.generator(args.seed, group.name, int(args.show[1])), folder)
    print(f"{path}: {group.read(path)}")
    return 0


def main() -> int:
    args = arguments()
    set_threads(1)
    args.output = args.output.resolve()
    if args.show:
        return show(args)
    record = args.output / f"outcomes-{args.seed}.jsonl"
    if args.overwrite:
        record.unlink(missing_ok=True)
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    outcomes = [pool.Outcome(**json.loads(line)) for line in lines if line.endswith("}")]
    groups = [group for group in ALL if args.only is None or group.name in args.only]
    known = {(outcome.group, outcome.number) for outcome in outcomes}
    left = [task for task in tasks(groups, args.files) if task not in known]
    prepare(groups, args.output / "seeds")
    with record.open("a", encoding="utf-8") as file:

        def done(outcome: pool.Outcome) -> None:
            outcomes.append(outcome)
            file.write(json.dumps(asdict(outcome)) + "\n")
            file.flush()
            if outcome.outcome == DEFECT:
                print(f"defect: {outcome.group} {outcome.number}: {outcome.kind}: {outcome.message}", flush=True)
                kept = args.output / "defects" / f"{outcome.group} {outcome.number}".replace(" ", "_")
                shutil.rmtree(kept, ignore_errors=True)
                kept.mkdir(parents=True)
                group = next(group for group in groups if group.name == outcome.group)
                group.make(pool.generator(args.seed, outcome.group, outcome.number), kept)
            elif len(outcomes) % 500 == 0:
                print(f"{len(outcomes)} files", flush=True)

        pool.run(groups, left, seed=args.seed, folder=args.output / "workers", processes=args.processes, done=done)
    names = [group.name for group in ALL]
    print_table(table(outcomes, names))
    (args.output / "fuzz.md").write_text(markdown(outcomes, names), encoding="utf-8")
    (args.output / "fuzz.json").write_text(
        json.dumps(document(outcomes, names, args.seed), indent=1) + "\n", encoding="utf-8"
    )
    return 1 if any(outcome.outcome == DEFECT for outcome in outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EquipotError as error:
        print(f"fuzz_inputs: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
