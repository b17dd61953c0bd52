"""How time and memory of loading, split, data check, evaluation and report grow with the number of frames.

    python scripts/benchmarks/growth.py --sizes 1000 4000 16000 50000 --kinds crystals copies types

Frames are made on the spot, of a few atoms each: ``crystals`` are four-atom cells of one volume with stresses,
``copies`` the same with atoms displaced by no more than 0.001 Angstrom, ``types`` dimers with a config_type for every
five frames. Each size runs in a process of its own; a column is the processor time of a step (s; a busy
machine does not change it much), the last the largest
memory of the process (MB). Steps that take longer than ``--most`` seconds are not tried at larger sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = ("read", "load", "check", "evaluate", "report")
KINDS = ("crystals", "copies", "types")


def frames_of(kind: str, count: int):
    """Frames with the energies, forces and stresses of a Lennard-Jones or Morse potential."""
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.lj import LennardJones

    from equipot.data import Frame

    generator = np.random.default_rng(0)
    cell = bulk("Ar", a=5.3, cubic=True)
    calculator = LennardJones(sigma=3.4, epsilon=0.0104, rc=6.0)
    for number in range(count):
        if kind == "types":
            length = 1.8 + 1.2 * generator.random()
            growth = np.exp(-1.9 * (length - 2.2))
            force = 2.0 * 1.9 * growth * (1.0 - growth)
            atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, length]])
            forces = np.array([[0, 0, force], [0, 0, -force]])
            yield Frame(atoms, (1.0 - growth) ** 2 - 1.0, forces, config_type=f"type_{number // 5}")
            continue
        atoms = cell.copy()
        atoms.rattle(0.05 if kind == "crystals" else 2e-4, rng=generator)
        atoms.calc = calculator
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)
        atoms.calc = None
        yield Frame(atoms, energy, forces, stress, config_type="liquid")


def measure(path: Path, kind: str, count: int, steps: list[str]) -> dict[str, float]:
    """Processor seconds of each step, and the largest memory of this process (MB)."""
    from equipot.checks.data import check_frames
    from equipot.config import from_dict
    from equipot.data import load_datasets, read_frames, write_frames
    from equipot.models import PotentialConfig, build_potential, resolve_options
    from equipot.report.outliers import find_outliers
    from equipot.report.points import parity_points
    from equipot.report.run_report import RunRecord, write_report
    from equipot.report.summary import build_summary
    from equipot.training import evaluate

    file = path / "frames.xyz"
    write_frames(file, list(frames_of(kind, count)))
    seconds: dict[str, float] = {}

    def timed(name, function, *arguments, **options):
        begin = time.process_time()
        result = function(*arguments, **options)
        seconds[name] = time.process_time() - begin
        return result

    frames = timed("read", read_frames, file)
    if "check" in steps:
        timed("check", check_frames, frames, cutoff=4.0)
    if not {"load", "evaluate", "report"} & set(steps):
        return {**seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    datasets = timed("load", load_datasets, from_dict({"data": {"train": [str(file)]}}).data, 4.0)
    if "evaluate" in steps or "report" in steps:
        config = PotentialConfig(
            architecture="nequip",
            elements=datasets.elements,
            cutoff=4.0,
            avg_num_neighbors=12.0,
            options=resolve_options("nequip", "small", {"num_layers": 1}),
        )
        potential = build_potential(config, atomic_energies=datasets.atomic_energies.values)
        splits = {name: getattr(datasets, name) for name in ("train", "validation", "test")}
        evaluations = timed(
            "evaluate", lambda: {name: evaluate(potential, graphs, collect=True) for name, graphs in splits.items()}
        )
    if "report" in steps:
        energies = datasets.atomic_energies.values
        metrics = {name: evaluation.metrics for name, evaluation in evaluations.items()}

        def report() -> None:
            predictions = {name: evaluation.predictions for name, evaluation in evaluations.items()}
            record = RunRecord(
                name="growth",
                model="nequip",
                summary=build_summary(
                    metrics,
                    num_parameters=potential.num_parameters(),
                    train_seconds=None,
                    epochs=None,
                    best_epoch=None,
                    elements=datasets.elements,
                    cutoff=4.0,
                ),
                metrics=metrics,
                points={name: parity_points(splits[name], predictions[name], energies) for name in splits},
                rows=[],
                frames=datasets.frames,
                atomic_energies=energies,
                outliers=find_outliers(splits, predictions),
            )
            write_report(record, path / "report.html", path / "plots")

        timed("report", report)
    return {**seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000, 50000], metavar="N")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--most", type=float, default=300.0, metavar="S")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        kind, count = arguments.one
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), kind, int(count), arguments.steps)))
        return
    print(f"{'kind':<10}{'frames':>8}" + "".join(f"{step:>10}" for step in STEPS) + f"{'MB':>8}")
    for kind in arguments.kinds:
        steps = list(arguments.steps)
        for count in arguments.sizes:
            command = [sys.executable, __file__, "--one", kind, str(count), "--steps", *steps]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{kind:<10}{count:>8}  failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
                break
            found = json.loads(done.stdout.strip().splitlines()[-1])
            cells = "".join(f"{found[step]:>10.1f}" if step in found else f"{'-':>10}" for step in STEPS)
            print(f"{kind:<10}{count:>8}{cells}{found['megabytes']:>8.0f}", flush=True)
            steps = [step for step in steps if found.get(step, 0.0) < arguments.most] or ["read"]


if __name__ == "__main__":
    main()
