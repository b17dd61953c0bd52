"""Training: a loop one can read in a minute, and the parts it is made of, each usable on its own.

    from equipot.train import evaluate, fit
    result = fit(potential, datasets, config, run)
    errors = evaluate(result.potential, datasets.test).metrics
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

from equipot.train.device import resolve_device
from equipot.train.dry_run import DryRun, dry_run
from equipot.train.ema import ExponentialMovingAverage
from equipot.train.evaluate import Evaluation, Prediction, evaluate
from equipot.train.loop import FitResult, fit
from equipot.train.loss import Loss, LossTerms
from equipot.train.memory import OutOfMemory
from equipot.train.metrics import MetricAccumulator
from equipot.train.optimizer import build_optimizer
from equipot.train.progress import BarProgress, LineProgress, NoProgress, Progress, make_progress
from equipot.train.schedule import Schedule
from equipot.train.signals import StopRequest, stop_on_signal
from equipot.train.state import TrainingState
from equipot.train.step import StepResult, training_step

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
    "Schedule",
    "StepResult",
    "StopRequest",
    "TrainingState",
    "build_optimizer",
    "dry_run",
    "evaluate",
    "fit",
    "make_progress",
    "resolve_device",
    "stop_on_signal",
    "training_step",
]


class _CallableModule(ModuleType):
    """``equipot.train`` is this package and, called, the whole job of a configuration (``equipot.workflow.train``).

    Python binds a subpackage to its parent's attribute whenever any of its modules is imported, so the two could not
    share the name otherwise. The floor above is looked up when called, not imported.
    """

    def __call__(self, *args, **kwargs):
        return import_module("equipot.workflow").train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
