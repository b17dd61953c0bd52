"""Training: a loop one can read in a minute, and the parts it is made of, each usable on its own.

from equipot.training import evaluate, fit
result = fit(potential, datasets, config, run)
errors = evaluate(result.potential, datasets.test).metrics
"""

from __future__ import annotations

from equipot.training.device import resolve_device
from equipot.training.dry_run import DryRun, dry_run
from equipot.training.ema import ExponentialMovingAverage
from equipot.training.evaluate import Evaluation, Prediction, evaluate
from equipot.training.loop import FitResult, fit
from equipot.training.loss import Loss, LossTerms
from equipot.training.memory import OutOfMemory
from equipot.training.metrics import MetricAccumulator
from equipot.training.optimizer import build_optimizer
from equipot.training.progress import BarProgress, LineProgress, NoProgress, Progress, make_progress
from equipot.training.replay import Replay
from equipot.training.schedule import Schedule
from equipot.training.state import TrainingState
from equipot.training.step import StepResult, training_step

__all__ = [
    "BarProgress",
    "DryRun",
    "Evaluation",
    "ExponentialMovingAverage",
    "FitResult",
    "LineProgress",
    "Loss",
    "LossTerms",
    "MetricAccumulator",
    "NoProgress",
    "OutOfMemory",
    "Prediction",
    "Progress",
    "Replay",
    "Schedule",
    "StepResult",
    "TrainingState",
    "build_optimizer",
    "dry_run",
    "evaluate",
    "fit",
    "make_progress",
    "resolve_device",
    "training_step",
]
