"""What stays fixed during a run: data, loss, batches, device and stages, made from the configuration once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from equipot.config.schema import Config
from equipot.data.label_masks import label_masks
from equipot.data.sampler import BatchSampler
from equipot.errors import ConfigError, DataError
from equipot.graph import AtomicGraph, make_loader
from equipot.training.device import resolve_device
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.epoch import EpochSums
from equipot.training.evaluate import Evaluation, batches_by_edges, evaluate_batches
from equipot.training.loss import Loss
from equipot.training.optimizer import build_optimizer
from equipot.training.replay import Replay
from equipot.training.schedule import Schedule, warmup_steps
from equipot.training.state import TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable

    from equipot.data import DataSets
    from equipot.models import Potential

#: A validation set with fewer edges is joined to batches once and kept so (a few hundred MB at most).
MAX_KEPT_EDGES = 2_000_000


class StepPlan(NamedTuple):
    """The frames of one optimiser step: its batches, each as places in the training set, and what is replayed."""

    batches: list[list[int]]
    replay: list[int]


class StepBatches(NamedTuple):
    """A step's batches, and the batch of replayed structures (none, or one), on the device."""

    batches: list[AtomicGraph]
    replay: list[AtomicGraph]


@dataclass
class Job:
    """A run's fixed parts. Epochs are counted from 0 here: epoch e is the one after e finished epochs.

    Attributes:
        config: the whole configuration.
        train, validation: the graphs.
        loss: with the force rms of the training set.
        sampler: batches of an epoch as a pure function of seed and epoch.
        device: where to compute.
        replay: what is mixed into the steps besides.
    """

    config: Config
    train: Sequence[AtomicGraph]
    validation: Sequence[AtomicGraph]
    loss: Loss
    sampler: BatchSampler
    device: torch.device
    replay: Replay | None = None
    _kept: list[AtomicGraph] | None = None

    def new_state(self, potential: Potential) -> TrainingState:
        """The state before the first step, with the potential on the job's device."""
        potential.to(self.device).train()
        optimizer = build_optimizer(potential, self.config.optimizer)
        stage_two = self.config.loss.stage_two
        factor = 1.0 if stage_two is None else stage_two.learning_rate_factor
        ema = ExponentialMovingAverage(potential, self.config.training.ema_decay)
        schedule = Schedule(self.config.schedule, factor, warmup_steps=self.warmup_steps)
        return TrainingState(potential, optimizer, ema, schedule)

    @property
    def warmup_steps(self) -> int:
        """Steps of warm-up of the learning rate."""
        return warmup_steps(self.config.schedule, len(self.steps(0)) * self.config.training.epochs)

    def steps(self, epoch: int) -> list[StepPlan]:
        """The optimiser steps of an epoch."""
        batches, size = self.sampler.batches(epoch), self.config.training.accumulate
        steps = [batches[start : start + size] for start in range(0, len(batches), size)]
        if self.replay is None:
            return [StepPlan(step, []) for step in steps]
        drawn = self.replay.draw(epoch, [sum(map(len, step)) for step in steps])
        return [StepPlan(step, places) for step, places in zip(steps, drawn)]

    def load(self, steps: Sequence[StepPlan]) -> Iterator[StepBatches]:
        """The batches of each step, on the device."""
        graphs, first = self.train, len(self.train)
        if self.replay is not None:
            graphs = [*self.train, *self.replay.graphs]
        batches = [
            batch for step in steps for batch in (*step.batches, [first + place for place in step.replay]) if batch
        ]
        loader = iter(make_loader(graphs, batches, num_workers=self.config.training.num_workers))
        for step in steps:
            yield StepBatches(
                [self._at_device(next(loader)) for _ in step.batches],
                [self._at_device(next(loader))] if step.replay else [],
            )

    def _at_device(self, batch: AtomicGraph) -> AtomicGraph:
        return batch if batch.positions.device == self.device else batch.to(self.device)

    def is_stage_two(self, epoch: int) -> bool:
        """Whether an epoch belongs to stage two."""
        stage_two = self.config.loss.stage_two
        return stage_two is not None and epoch >= stage_two.start * self.config.training.epochs

    def phase(self, epoch: int) -> int:
        """Phase the best epoch is compared within, see :class:`equipot.training.state.Best`."""
        is_selecting = epoch + 1 > self.config.training.select_after * self.config.training.epochs
        return int(is_selecting) + int(self.is_stage_two(epoch))

    def validate(self, state: TrainingState, epoch: int, stop: Callable[[], bool] | None = None) -> Evaluation:
        """Evaluate the averaged weights on the validation set."""
        budget = self.config.training.evaluation_batch_edges
        if self._kept is None and sum(graph.num_edges for graph in self.validation) <= MAX_KEPT_EDGES:
            self._kept = [batch.to(self.device) for batch in batches_by_edges(self.validation, budget)]
        batches = batches_by_edges(self.validation, budget) if self._kept is None else self._kept
        with state.ema.swapped():
            return evaluate_batches(
                state.potential,
                batches,
                device=self.device,
                loss=self.loss,
                stage_two=self.is_stage_two(epoch),
                stop=stop,
            )

    def value(self, sums: EpochSums, evaluation: Evaluation | None) -> float | None:
        """What an epoch is judged by: ``training.best_metric`` on the validation set, or the training loss without one.

        None where a validation set is there and this epoch did not evaluate it; NaN where the number is not finite.
        """
        name = self.config.training.best_metric
        if not self.validation:
            value = sums.row()["loss"]
        elif evaluation is None:
            return None
        elif name == "loss":
            value = evaluation.loss
        else:
            metrics = evaluation.metrics["all"]
            value = next((value for key, value in metrics.items() if key.startswith(f"{name}_")), None)
        return math.nan if value is None else value


def prepare(datasets: DataSets, config: Config, replay: Replay | None = None) -> Job:
    """Check that there is something to learn from and to choose by, and put a job together.

    Raises:
        ConfigError: the loss has weight only on labels that are nowhere, or ``training.best_metric`` needs labels the
            validation set lacks.
        DataError: there are no training frames, or a frame has a stress label but a cell without volume.
    """
    train, validation = list(datasets.train), list(datasets.validation)
    if not train:
        raise DataError("There are no training frames.")
    _require_volume([*train, *validation])
    loss = Loss(config.loss, datasets.statistics.forces_rms)
    counts = _label_counts(train)
    for stage_two in {False, config.loss.stage_two is not None}:
        if not any(weight and count for weight, count in zip(loss.weights(stage_two), counts)):
            where = "loss.stage_two" if stage_two else "loss"
            raise ConfigError(
                f"{where}: every label with a weight above zero is missing from the training frames, "
                f"which hold {counts[0]:.0f} energies, forces on {counts[1]:.0f} atoms and "
                f"{counts[2]:.0f} stresses. Check data.keys and the weights."
            )
    metric = config.training.best_metric
    if validation and metric != "loss" and not _label_counts(validation)[0 if metric.startswith("energy") else 1]:
        raise ConfigError(f"training.best_metric is {metric} but no validation frame has such a label; say loss.")
    training = config.training
    sampler = BatchSampler(
        [graph.num_edges for graph in train],
        batch_size=training.batch_size,
        batch_edges=training.batch_edges,
        seed=config.seed,
    )
    return Job(config, train, validation, loss, sampler, resolve_device(config.device), replay)


def _label_counts(graphs: Sequence[AtomicGraph]) -> list[float]:
    return torch.stack([label_masks(graph).counts() for graph in graphs]).sum(dim=0).tolist()


def _require_volume(graphs: Sequence[AtomicGraph]) -> None:
    for graph in graphs:
        if bool(label_masks(graph).stress.any()) and not float(graph.volume[0]) > 0:
            raise DataError(
                f"{graph.source} has a stress label but its cell has no volume, so that no stress can be "
                "compared with it. Remove the label or give the cell."
            )
