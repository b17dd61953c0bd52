"""Kill, starve and mislead real runs of the program at random instants, and count what is lost: nothing should be.

Training, molecular dynamics, checks, conversions and predictions are started as forked processes. Each try does one
thing to one of them (``--list`` names them), then lets it go on (--resume, or --overwrite where nothing can be resumed)
and compares the end with that of a run nobody disturbed, to the bit. A file that is half-written under its final name,
a temporary file left behind, a traceback or another number is a defect. Tries that are recorded are not done again.

    python -m tests.robustness.fault_table                          # 50 kills of every verb, other faults: an hour
    python -m tests.robustness.fault_table --tries 5 --only "kill -9 at random instants" --jobs train md
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np

from equipot.report.tables import Column, Table, print_table
from equipot.system.threads import set_threads
from tests.robustness.faults.jobs import make_jobs
from tests.robustness.faults.kinds import DEFECT, EQUAL, FAULTS, REFUSED, Outcome, Try, can_mount
from tests.robustness.faults.process import Run

HEADINGS = ("fault", "verb", "tries", EQUAL, REFUSED, DEFECT)


def rows(outcomes: list[Outcome]) -> list[tuple]:
    """One row a fault and verb, and their sum."""
    found = []
    for fault, (_, jobs, _) in FAULTS.items():
        for job in jobs:
            counts = Counter(outcome.outcome for outcome in outcomes if (outcome.fault, outcome.job) == (fault, job))
            if counts:
                found.append((fault, job, sum(counts.values()), counts[EQUAL], counts[REFUSED], counts[DEFECT]))
    return [*found, ("all", "", *(sum(row[k] for row in found) for k in range(2, 6)))]


def markdown(outcomes: list[Outcome]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "--:|" * (len(HEADINGS) - 2)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows(outcomes))]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50, help="of the most frequent fault and verb (default: 50)")
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=tuple(FAULTS), help="of the faults of --list")
    parser.add_argument("--jobs", nargs="+", metavar="VERB", help="of train, md, 'md, binary', check, convert, predict")
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("faults"), help="folder (default: faults)")
    parser.add_argument("--overwrite", action="store_true", help="begin again instead of going on")
    parser.add_argument("--list", action="store_true", help="name the faults and the verbs they are for")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{fault}: {', '.join(jobs)}" for fault, (_, jobs, _) in FAULTS.items()))
        return 0
    set_threads(1)
    folder = args.output.resolve()
    if args.overwrite:
        shutil.rmtree(folder, ignore_errors=True)
    jobs, seeds = make_jobs(folder)
    jobs = [job for job in jobs if args.jobs is None or job.name in args.jobs]
    record = folder / f"outcomes-{args.seed}.jsonl"
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    outcomes = [Outcome(**json.loads(line)) for line in lines if line.endswith("}")]
    known = {(outcome.fault, outcome.job, outcome.number) for outcome in outcomes}
    with record.open("a", encoding="utf-8") as file:
        for job in jobs:
            whole = folder / "whole" / job.name
            shutil.rmtree(whole, ignore_errors=True)
            shutil.copytree(seeds, whole)
            ending = Run(job.words, whole).wait()
            if ending.code != 0:
                raise RuntimeError(f"the undisturbed {job.name} ended with {ending.code}:\n{ending.output}")
            reference = job.result(whole)
            print(f"{job.name}: {ending.seconds:.1f} s undisturbed", flush=True)
            for fault, (function, names, share) in FAULTS.items():
                if job.name not in names or (args.only and fault not in args.only):
                    continue
                if fault == "a full disk" and not can_mount():
                    print("a full disk: only root can mount a small one; left out", flush=True)
                    continue
                for number in range(max(1, round(share * args.tries))):
                    if (fault, job.name, number) in known:
                        continue
                    rng = np.random.default_rng([args.seed, zlib.crc32(f"{fault} {job.name}".encode()), number])
                    trial = Try(job, seeds, folder / "try", reference, ending.seconds, rng, job.sizes(whole, seeds))
                    outcome = Outcome(fault, job.name, number, *function(trial))
                    outcomes.append(outcome)
                    file.write(json.dumps(asdict(outcome)) + "\n")
                    file.flush()
                    if outcome.outcome == DEFECT:
                        print(f"defect: {fault}, {job.name}, {number}: {outcome.message}", flush=True)
    table = tuple(tuple(map(str, row)) for row in rows(outcomes))
    print_table(Table("Faults", tuple(Column(name, is_number=k > 1) for k, name in enumerate(HEADINGS)), table))
    (folder / "faults.md").write_text(markdown(outcomes), encoding="utf-8")
    (folder / "faults.json").write_text(
        json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n", encoding="utf-8"
    )
    return 1 if any(outcome.outcome == DEFECT for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
