"""What a run will cost, measured on a few steps of a copy of the potential: nothing is trained or written."""

from __future__ import annotations

import copy
import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from equipot.config.schema import Config
from equipot.training.evaluate import batches_by_edges, evaluate_batches
from equipot.training.job import Job, prepare
from equipot.training.optimizer import describe_groups
from equipot.training.rows import duration
from equipot.training.schedule import set_learning_rate
from equipot.training.state import TrainingState
from equipot.training.step import training_step

if TYPE_CHECKING:
    from equipot.data import DataSets
    from equipot.models import Potential
    from equipot.training.replay import Replay


@dataclass(frozen=True)
class DryRun:
    """An estimate.

    Attributes:
        num_parameters: numbers that train.
        steps_per_epoch: optimiser steps in the first epoch.
        seconds_per_step, seconds_per_validation, seconds_per_epoch, seconds_total: measured and extrapolated.
        peak_memory_mib: of this process (CPU) or of torch's allocator (GPU), so far.
        groups: printable lines: learning rates of the parameters (`--verbose` prints them).
    """

    num_parameters: int
    steps_per_epoch: int
    seconds_per_step: float
    seconds_per_validation: float
    seconds_per_epoch: float
    seconds_total: float
    peak_memory_mib: float
    groups: tuple[str, ...]

    def lines(self) -> list[str]:
        """The estimate for people."""
        return [
            f"{self.num_parameters} parameters, {self.steps_per_epoch} steps an epoch",
            f"{1000 * self.seconds_per_step:.1f} ms a step, {self.seconds_per_validation:.2f} s a validation, "
            f"{self.seconds_per_epoch:.1f} s an epoch, about {duration(self.seconds_total)} in all",
            f"{self.peak_memory_mib:.0f} MiB peak memory",
        ]


def dry_run(
    potential: Potential,
    datasets: DataSets,
    config: Config,
    *,
    replay: Replay | None = None,
    num_steps: int = 10,
    max_seconds: float = 10.0,
) -> DryRun:
    """Time a few training steps and part of a validation.

    Args:
        potential: left as it is.
        datasets, config, replay: as for :func:`equipot.training.fit`, with the same checks and errors.
        num_steps: steps to time, after two that are not (the first fills caches and prepares the optimiser).
        max_seconds: stop timing after this long.
    """
    job = prepare(datasets, config, replay)
    state = job.new_state(copy.deepcopy(potential))
    steps = job.steps(0)
    times, last = [], time.perf_counter()
    for batches in job.load([steps[k % len(steps)] for k in range(num_steps + 2)]):
        set_learning_rate(state.optimizer, state.schedule.factor(state.step, 0.0))
        training_step(
            state.potential,
            batches.batches,
            job.loss,
            state.optimizer,
            state.ema,
            clip_norm=config.training.clip_norm,
            replayed=batches.replay,
            replay=replay,
        )
        times.append(time.perf_counter() - last)
        last = time.perf_counter()
        if sum(times) > max_seconds:
            break
    timed = times[2:] or times[-1:]
    per_step = sum(timed) / len(timed)
    validation = _validation_seconds(job, state)
    per_epoch = per_step * len(steps) + validation / config.training.evaluate_every
    if job.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(job.device) / 2**20
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return DryRun(
        potential.num_trainable_parameters(),
        len(steps),
        per_step,
        validation,
        per_epoch,
        per_epoch * config.training.epochs + (validation if job.validation else 0.0),
        memory,
        tuple(describe_groups(state.potential, state.optimizer)),
    )


def _validation_seconds(job: Job, state: TrainingState) -> float:
    """Time of one validation, from its first batch and the number of edges."""
    budget = job.config.training.evaluation_batch_edges
    first = next(batches_by_edges(job.validation, budget), None)
    if first is None:
        return 0.0
    begin = time.perf_counter()
    evaluate_batches(state.potential, [first], device=job.device, loss=job.loss)
    total = sum(graph.num_edges for graph in job.validation)
    return (time.perf_counter() - begin) * total / max(first.num_edges, 1)
