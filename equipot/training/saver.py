"""Writes a run's checkpoint and best model together: every few minutes, when the run stops, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from equipot.checkpoint import RunDirectory, save_model
from equipot.config.schema import TrainingConfig
from equipot.training.state import TrainingState

if TYPE_CHECKING:
    from equipot.models import Potential


class Saver:
    """Saves a state into a run folder.

    ``model.eqp`` is written with the checkpoint and not at every improvement: early in a run each epoch improves, and
    the checkpoint holds the best weights too.

    Args:
        run: the folder.
        state: what to save.
        config: ``checkpoint_minutes`` and the name of the metric.
        metadata: goes into ``model.eqp``.
        export: what trains -> the potential that goes into ``model.eqp``, where it is not the same, and other heads
            by name.
    """

    def __init__(
        self,
        run: RunDirectory,
        state: TrainingState,
        config: TrainingConfig,
        metadata: Mapping[str, Any] | None,
        export: Callable[[Potential], tuple[Potential, dict[str, Potential]]] | None = None,
    ) -> None:
        self._run, self._state, self._config, self._metadata = run, state, config, dict(metadata or {})
        self._export = export
        self._last, self._epoch_in_file = time.monotonic(), None

    def save_if_due(self) -> None:
        """Save where the last time is ``training.checkpoint_minutes`` ago."""
        if time.monotonic() - self._last >= 60.0 * self._config.checkpoint_minutes:
            self.save()

    def save(self) -> None:
        """Save the best model if it is not in the file yet, then the checkpoint.

        Raises:
            NumericalError: a parameter is not finite; nothing is written.
        """
        self._state.require_finite()
        best = self._state.best
        if best is not None and best.epoch != self._epoch_in_file:
            training = {
                "epoch": best.epoch,
                "best_metric": self._config.best_metric if best.metrics else None,
                "best_value": best.value if best.metrics else None,
                "validation": best.metrics,
            }
            with self._state.ema.replaced(best.weights):
                potential, heads = self._state.potential, {}
                if self._export is not None:
                    potential, heads = self._export(potential)
                save_model(
                    self._run.model_path,
                    potential,
                    metadata={**self._metadata, "training": training},
                    **({"heads": heads} if heads else {}),
                )
            self._epoch_in_file = best.epoch
        self._state.save(self._run)
        self._last = time.monotonic()
