"""Sums over the steps of one epoch, kept in checkpoints so that a resumed epoch reports what an unbroken one would."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from equipot.training.metrics import MetricAccumulator
from equipot.training.step import StepResult


@dataclass
class EpochSums:
    """Sums over the good steps of an epoch.

    Attributes:
        num_steps: good steps.
        num_bad_steps: steps that were skipped.
        parts: sums of the weighted parts of the loss: energy, forces, stress.
        replay_loss: sum of what replayed structures added, None where there are none.
        grad_norm: sum of the gradient lengths before clipping.
        learning_rate: the largest of the last step.
        seconds: time the steps took.
        metrics: errors of the frames, each with the weights of its step.
    """

    num_steps: int = 0
    num_bad_steps: int = 0
    parts: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    replay_loss: float | None = None
    grad_norm: float = 0.0
    learning_rate: float | None = None
    seconds: float = 0.0
    metrics: MetricAccumulator = field(default_factory=MetricAccumulator)

    _PLAIN: ClassVar = ("num_steps", "num_bad_steps", "replay_loss", "grad_norm", "learning_rate", "seconds")

    def add(self, result: StepResult, learning_rate: float, seconds: float) -> None:
        """Add a step; of a bad one only its number, rate and time."""
        self.seconds += seconds
        self.learning_rate = learning_rate
        if result.is_bad:
            self.num_bad_steps += 1
            return
        self.num_steps += 1
        self.parts = [total + part for total, part in zip(self.parts, result.parts)]
        if result.replay_loss is not None:
            self.replay_loss = (self.replay_loss or 0.0) + result.replay_loss
        self.grad_norm += result.grad_norm
        self.metrics.merge(result.metrics)

    def row(self) -> dict[str, Any]:
        """Means over the steps, shares of the loss and errors: the ``train`` part of a metrics row."""
        num_steps, total = max(self.num_steps, 1), sum(self.parts)
        loss = total / num_steps if self.num_steps else None
        shares = {
            f"{label}_share": part / total if total > 0 and math.isfinite(total) else None
            for label, part in zip(("energy", "forces", "stress"), self.parts)
        }
        replay = {} if self.replay_loss is None else {"replay_loss": self.replay_loss / num_steps}
        return {
            "loss": loss,
            **replay,
            **shares,
            "grad_norm": self.grad_norm / num_steps if self.num_steps else None,
            "num_bad_steps": self.num_bad_steps,
            **self.metrics.result()["all"],
        }

    def state_dict(self) -> dict[str, Any]:
        """All sums."""
        return {
            **{name: getattr(self, name) for name in self._PLAIN},
            "parts": list(self.parts),
            "metrics": self.metrics.state_dict(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> EpochSums:
        """The sums :meth:`state_dict` gave."""
        sums = cls(**{name: state[name] for name in cls._PLAIN}, parts=list(state["parts"]))
        sums.metrics.load_state_dict(state["metrics"])
        return sums
