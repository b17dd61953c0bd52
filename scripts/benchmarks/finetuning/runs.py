"""One training of the grid: its configuration, its errors, what it forgot and what it cost, kept in a file."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equipot
from equipot.checkpoint import load_model
from equipot.data import write_frames
from equipot.data.datasets import frame_to_graph
from equipot.data.frames import Frame
from equipot.finetuning.forgetting import BaseDomain
from equipot.report.files import write_text
from equipot.report.summary import to_json
from equipot.training import evaluate
from finetuning.structures import Pool

SCRATCH = "scratch"
#: Mode -> the section ``finetune`` of its configuration.
MODES: dict[str, dict[str, Any]] = {
    "full": {"mode": "full"},
    "frozen": {"mode": "frozen", "train": ["layer_3", "layer_4", "readout"]},
    "lora": {"mode": "lora"},
    "replay": {"mode": "full", "replay": {"number": 256}},
    # SOAP moves the embeddings of elements that only replay meets as far as those of the frames: they stay.
    "replay_strong": {
        "mode": "frozen",
        "freeze": ["embedding"],
        "replay": {"number": 512, "weight": 4.0, "batch_size": 8},
    },
}
#: Learning rates, chosen on validation frames by ``--scan``.
LEARNING_RATES = {"full": 0.003, "frozen": 0.01, "lora": 0.01, "replay": 0.003, "replay_strong": 0.003, SCRATCH: 0.03}


@dataclass(frozen=True)
class Budget:
    """How long a training is.

    Attributes:
        steps: optimiser steps from the base; scratch_steps: from random weights.
        batch_size: frames a step.
        model: section ``model`` of the trainings from scratch.
    """

    steps: int = 150
    scratch_steps: int = 2000
    batch_size: int = 4
    model: Mapping[str, Any] = field(
        default_factory=lambda: {"architecture": "nequip", "preset": "medium", "cutoff": 5.0}
    )


@dataclass(frozen=True)
class Case:
    """A cell of the grid."""

    mode: str
    num_frames: int
    seed: int
    learning_rate: float

    def name(self, pool: Pool) -> str:
        """Of its files."""
        return f"{pool.name}-{self.mode}-{self.num_frames}-seed{self.seed}-lr{self.learning_rate:g}"


def configuration(case: Case, pool: Pool, budget: Budget, folder: Path, test: list[Frame]) -> dict[str, Any]:
    """What ``equipot finetune`` or ``equipot train`` is given; writes the frames."""
    folder.mkdir(parents=True, exist_ok=True)
    subset = pool.subset(case.num_frames, case.seed)
    write_frames(folder / "train.xyz", [*subset, *pool.isolated])
    write_frames(folder / "test.xyz", test)
    is_scratch = case.mode == SCRATCH
    steps = budget.scratch_steps if is_scratch else budget.steps
    epochs = max(1, math.ceil(steps / math.ceil(len(subset) / budget.batch_size)))
    return {
        "name": case.name(pool),
        "run_directory": str(folder / "run"),
        "seed": case.seed,
        "device": "cpu",
        "data": {"root": str(folder), "train": ["train.xyz"], "test": ["test.xyz"], "split": {"validation": 0.0}},
        "training": {"epochs": epochs, "batch_size": budget.batch_size, "evaluate_every": epochs},
        "optimizer": {"learning_rate": case.learning_rate},
        "schedule": {"warmup_steps": min(50, steps // 8)},
        **(
            {"model": dict(budget.model)}
            if is_scratch
            # Forgetting is measured below, on the same crystals for every training.
            else {"finetune": {**MODES[case.mode], "report": {"prototypes": 0}}}
        ),
    }


@dataclass
class Bench:
    """What all trainings share.

    Attributes:
        base: its model file.
        output: folder of the results.
        prototypes: held-out crystals, labelled by the base.
        known: frames of the level of theory and the domain the base was trained on, with their own labels; may be
            empty.
    """

    base: Path
    output: Path
    budget: Budget
    prototypes: BaseDomain
    known: list[Frame]
    keep_runs: bool = False

    def base_on_known(self) -> dict[str, Any]:
        """Errors of the base on the known frames."""
        return self._on_known(load_model(self.base))

    def measured(self) -> list[dict[str, Any]]:
        """All trainings in the folder of the results, also those of earlier starts with other arguments."""
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.output.glob("results/*.json"))]

    def _on_known(self, potential: equipot.models.Potential) -> dict[str, Any]:
        # The zero of energy is another one after tuning: only forces and stresses can be compared.
        graphs = [
            frame_to_graph(Frame(frame.atoms, forces=frame.forces, stress=frame.stress), potential.cutoff)
            for frame in self.known
        ]
        return evaluate(potential, graphs).metrics["all"] if graphs else {}

    def _zero_shot(self, path: Path, pool: Pool) -> dict[str, Any]:
        potential = load_model(path)
        return evaluate(potential, [frame_to_graph(frame, potential.cutoff) for frame in pool.test]).metrics

    def run(self, case: Case, pool: Pool, *, on_validation: bool = False) -> dict[str, Any]:
        """Train once, or read what an earlier start of the script measured."""
        path = self.output / ("scan" if on_validation else "results") / f"{case.name(pool)}.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        folder = self.output / "runs" / case.name(pool)
        shutil.rmtree(folder, ignore_errors=True)
        config = configuration(case, pool, self.budget, folder, pool.validation if on_validation else pool.test)
        clock = time.process_time()
        result = (
            equipot.train(config, quiet=True)
            if case.mode == SCRATCH
            else equipot.finetune(self.base, config, quiet=True)
        )
        seconds = time.process_time() - clock
        row = {
            "system": pool.name,
            "mode": case.mode,
            "num_frames": case.num_frames,
            "seed": case.seed,
            "learning_rate": case.learning_rate,
            "steps": result.summary["steps"],
            "cpu_seconds": seconds,
            "num_parameters": result.potential.num_parameters(),
            "errors": result.metrics["test"],
        }
        if case.mode != SCRATCH:
            row["forgetting"] = self.prototypes.deviation(result.potential).metrics
            row["known"] = self._on_known(result.potential)
        if case.mode == "full":
            row["zero_shot"] = self._zero_shot(folder / "run" / "zero_shot.eqp", pool)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_json(row))
        if not self.keep_runs:
            shutil.rmtree(folder)
        return row
