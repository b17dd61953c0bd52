"""Everything a run needs to go on where it stopped, to the bit: one object, one checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from equipot.checkpoint import RunDirectory, flatten_state, unflatten_state
from equipot.errors import CheckpointError, NumericalError
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.epoch import EpochSums
from equipot.training.optimizer import load_optimizer_state, optimizer_state
from equipot.training.schedule import Schedule
from equipot.training.step import StepResult

if TYPE_CHECKING:
    from equipot.models import Potential

#: Version of the nest of state in a checkpoint.
STATE_VERSION = 2


@dataclass
class Best:
    """The best epoch so far.

    A later phase beats an earlier one whatever the numbers: phase 1 begins after ``training.select_after``, stage two
    adds one more. Within a phase the lower value wins.

    Attributes:
        epoch: number of the epoch (1 is the first).
        phase: see above.
        value: of ``training.best_metric``.
        metrics: validation metrics of the group ``all``.
        weights: the averaged weights by parameter name.
    """

    epoch: int
    phase: int
    value: float
    metrics: dict[str, Any]
    weights: dict[str, Tensor]


@dataclass
class TrainingState:
    """A run between two optimiser steps.

    Attributes:
        potential, optimizer, ema, schedule: the live objects.
        epoch: epochs finished, their evaluation included.
        batch: optimiser steps done in the present epoch.
        step: optimiser steps done (or skipped) in all.
        best: the best epoch so far.
        num_bad_steps_in_a_row: what ``training.max_bad_steps`` bounds.
        seconds: time of training so far, over all interruptions.
        sums: sums over the steps of the present epoch.
    """

    potential: Potential
    optimizer: torch.optim.Optimizer
    ema: ExponentialMovingAverage
    schedule: Schedule
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: Best | None = None
    num_bad_steps_in_a_row: int = 0
    seconds: float = 0.0
    sums: EpochSums = field(default_factory=EpochSums)

    _COUNTERS: ClassVar = ("epoch", "batch", "step", "num_bad_steps_in_a_row", "seconds")

    def offer(self, epoch: int, phase: int, value: float, metrics: dict[str, Any]) -> bool:
        """Take the averaged weights as the best so far if they are; a value that is not finite never is."""
        is_better = math.isfinite(value) and (
            self.best is None or phase > self.best.phase or (phase == self.best.phase and value < self.best.value)
        )
        if is_better:
            self.take(epoch, phase, value, metrics)
        return is_better

    def take(self, epoch: int, phase: int, value: float, metrics: dict[str, Any]) -> None:
        """Make the averaged weights the best."""
        self.best = Best(epoch, phase, value, metrics, self.ema.weights())

    def count(self, result: StepResult, learning_rate: float, seconds: float) -> None:
        """Count a step, good or bad."""
        self.batch, self.step, self.seconds = self.batch + 1, self.step + 1, self.seconds + seconds
        self.num_bad_steps_in_a_row = self.num_bad_steps_in_a_row + 1 if result.is_bad else 0
        self.sums.add(result, learning_rate, seconds)

    def require_finite(self) -> None:
        """Refuse to go on, and above all to save, with weights that are not finite.

        Raises:
            NumericalError: a parameter or buffer holds NaN or infinity; the names say which.
        """
        bad = [name for name, tensor in self.potential.state_dict().items() if not torch.isfinite(tensor).all()]
        if bad:
            raise NumericalError(
                f"After step {self.step} these parameters are not finite: {', '.join(bad[:5])}. "
                "Nothing was saved after the last checkpoint; lower optimizer.learning_rate and "
                "resume from it."
            )

    def state_dict(self) -> dict[str, Any]:
        """The whole state as a nest of plain values and tensors."""
        return {
            "version": STATE_VERSION,
            "counters": {name: getattr(self, name) for name in self._COUNTERS},
            "potential": dict(self.potential.state_dict()),
            "optimizer": optimizer_state(self.optimizer),
            "ema": self.ema.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sums": self.sums.state_dict(),
            "best": None if self.best is None else vars(self.best).copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave, exactly.

        Raises:
            CheckpointError: the state belongs to another model, optimiser or version.
        """
        if state.get("version") != STATE_VERSION:
            raise CheckpointError(
                f"The checkpoint holds training state of version {state.get('version')}; this "
                f"equipot reads version {STATE_VERSION}. Resume with the version that wrote it."
            )
        try:
            self.potential.load_state_dict(state["potential"], strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                "The checkpoint is of another model than the configuration describes: "
                f"{' '.join(str(error).split())[:600]}."
            ) from None
        load_optimizer_state(self.optimizer, state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.schedule.load_state_dict(state["schedule"])
        self.sums = EpochSums.from_state_dict(state["sums"])
        self.best = None if state["best"] is None else Best(**state["best"])
        if self.best is not None:
            self.ema.require_fitting(self.best.weights)
        for name in self._COUNTERS:
            value = state["counters"][name]
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < 2**53
                or (name != "seconds" and not isinstance(value, int))
            ):
                raise CheckpointError(f"The checkpoint says {name} {repr(value)[:60]}, expected a count.")
            setattr(self, name, value)

    def save(self, run: RunDirectory) -> None:
        """Write a checkpoint.

        Raises:
            NumericalError: a parameter is not finite; nothing is written.
        """
        self.require_finite()
        tensors, skeleton = flatten_state(self.state_dict())
        run.save_checkpoint(tensors, {"kind": "training", "epoch": self.epoch, "state": skeleton}, self.step)

    def restore(self, run: RunDirectory) -> bool:
        """Load the newest complete checkpoint; False if there is none."""
        latest = run.latest()
        if latest is None:
            return False
        tensors, document = latest
        where = f"{run.checkpoints.folder}, step {document.get('step')}"
        try:
            self.load_state_dict(unflatten_state(tensors, document["state"]))
            self.require_finite()
        except NumericalError as error:
            raise CheckpointError(f"{where}: the checkpoint cannot be used: {error}") from None
        except CheckpointError as error:
            raise CheckpointError(f"{where}: {error}") from None
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where}: the checkpoint does not hold a training state of this version "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Resume with the "
                "version that wrote it, or start a new run."
            ) from error
        return True
