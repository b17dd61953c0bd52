"""The learning rate over time: warm-up with cosine, plateau or constant, as a factor on every group's base rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from equipot.config.schema import ScheduleConfig


@dataclass
class Schedule:
    """Factor on the learning rate.

    Warm-up and cosine are pure functions of where the run is, so they need no state; ``plateau`` keeps the best value
    seen and when that was.

    Attributes:
        config: name and numbers of the schedule.
        stage_two_factor: further factor in stage two.
        plateau_factor: what the plateaus so far have multiplied to.
        best: lowest value seen since the last reset, or None.
        best_epoch: when that, or the last reduction, was.
        warmup_steps: steps of linear warm-up, see :func:`warmup_steps`; None: those of ``config``.
    """

    config: ScheduleConfig
    stage_two_factor: float = 1.0
    plateau_factor: float = 1.0
    best: float | None = None
    best_epoch: int = 0
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        if self.warmup_steps is None:
            self.warmup_steps = self.config.warmup_steps

    def factor(self, step: int, progress: float, *, stage_two: bool = False) -> float:
        """Factor on the learning rate of one optimiser step.

        Args:
            step: steps taken before this one.
            progress: fraction of the run done before this step, in [0, 1].
            stage_two: whether stage two has begun.
        """
        factor = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps > 0 else 1.0
        if self.config.name == "cosine":
            last = self.config.final_fraction
            factor *= last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, max(0.0, progress))))
        elif self.config.name == "plateau":
            factor *= self.plateau_factor
        return factor * (self.stage_two_factor if stage_two else 1.0)

    def observe(self, epoch: int, value: float) -> None:
        """Tell the schedule what the evaluation after ``epoch`` gave (lower is better); only ``plateau`` listens."""
        if self.config.name != "plateau":
            return
        if math.isfinite(value) and (self.best is None or value < self.best):
            self.best, self.best_epoch = value, epoch
        elif epoch - self.best_epoch > self.config.patience:
            self.plateau_factor *= self.config.factor
            self.best_epoch = epoch

    def reset(self) -> None:
        """Forget the best value: what is observed has changed its meaning (stage two has other loss weights)."""
        self.best = None

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`load_state_dict` needs to go on."""
        return {"plateau_factor": self.plateau_factor, "best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        self.plateau_factor, self.best, self.best_epoch = (state["plateau_factor"], state["best"], state["best_epoch"])


def warmup_steps(config: ScheduleConfig, num_steps: int) -> int:
    """Steps of the warm-up: those asked for, and no more than a tenth of the run's ``num_steps``.

    A short run would otherwise end before its learning rate has been reached.
    """
    return min(config.warmup_steps, num_steps // 10)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set the learning rate of every group to ``factor`` times its base rate; returns the largest."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return max(group["lr"] for group in optimizer.param_groups)
