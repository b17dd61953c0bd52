"""The folder of a run: which file is where, who may write it, and how it survives being stopped."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from equipot.checkpoint import lock
from equipot.checkpoint.atomic import TEMPORARY_SUFFIX, finite_json, write_atomically, write_json, write_text
from equipot.checkpoint.manifest import StepCheckpoints
from equipot.errors import CheckpointError, UsageError

_logger = logging.getLogger(__name__)


class RunDirectory:
    """A run folder.

    ::

        config.yaml       the resolved configuration        model.eqp      the best model, averaged weights
        splits.json       which frame went where            summary.json   errors, parameters, times
        run.log           the log                           plots/         figures
        metrics.jsonl     one JSON row an epoch             report.html    all of it on one page
        summary.100-epochs.json, report.100-epochs.html     of the run before it was made longer
        base.eqp          of a fine-tuning: its base        zero_shot.eqp  the base with its new atomic energies
        finetune.json     what the fine-tuning changed
        checkpoints/      step-00001200.safetensors and its manifest step-00001200.json

    Args:
        path: the folder; nothing is made before :meth:`create`.
        keep_checkpoints: how many step checkpoints to keep.
    """

    #: Names of the models a fine-tuning is compared with.
    BASE, ZERO_SHOT = "base.eqp", "zero_shot.eqp"

    def __init__(self, path: str | Path, keep_checkpoints: int = 2):
        self.path = Path(path)
        self.checkpoints = StepCheckpoints(self.path / "checkpoints", keep_checkpoints)

    @property
    def config_path(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def splits_path(self) -> Path:
        """Which frame went to training, validation and test."""
        return self.path / "splits.json"

    @property
    def log_path(self) -> Path:
        """The log."""
        return self.path / "run.log"

    @property
    def metrics_path(self) -> Path:
        """One JSON row an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def model_path(self) -> Path:
        """The best model."""
        return self.path / "model.eqp"

    @property
    def base_path(self) -> Path:
        """The base of a fine-tuning."""
        return self.path / self.BASE

    @property
    def zero_shot_path(self) -> Path:
        """The base with the atomic energies of a fine-tuning, before its first step."""
        return self.path / self.ZERO_SHOT

    @property
    def finetune_path(self) -> Path:
        """What a fine-tuning changed."""
        return self.path / "finetune.json"

    @property
    def summary_path(self) -> Path:
        """Errors, parameter count, times."""
        return self.path / "summary.json"

    @property
    def report_path(self) -> Path:
        """The page that shows everything."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """The folder of figures."""
        return self.path / "plots"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run, finished or not."""
        return any(path.exists() or path.is_symlink() for path in (*self._files(), self.checkpoints.folder))

    def create(self, overwrite: bool = False) -> RunDirectory:
        """Make the folder for a new run and lock it for this process.

        Args:
            overwrite: remove the run that is there (its known files only; others in the folder stay).

        Returns:
            The object itself.

        Raises:
            UsageError: there is a run already and ``overwrite`` is False.
            CheckpointError: the folder cannot be made, or another process is writing it.
        """
        self._refuse_existing(overwrite)
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"{self.path}: is a file, expected a folder or nothing.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(self.path)
            self._refuse_existing(overwrite)  # another process may have made it meanwhile
            if overwrite:
                self._remove_run()
            self._clean()
            self.plots.mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.path}: the run folder cannot be made ({error.strerror or error}).") from error
        return self

    def resume(self) -> RunDirectory:
        """Lock an existing run folder for this process and clear away what a killed process left half-written.

        Raises:
            CheckpointError: there is no run, another process is writing it, or something in it is a link.
        """
        if not self.path.is_dir() or not self.exists:
            raise CheckpointError(f"{self.path}: there is no run to resume; start one without --resume.")
        for path in (*self._files(), self.checkpoints.folder, self.plots):
            if path.is_symlink():
                raise CheckpointError(f"{path}: is a link; equipot does not write through links in a run folder.")
        lock.acquire(self.path)
        self._clean()
        if self.metrics_path.exists():
            content = self.metrics_path.read_bytes()
            if not content.endswith(b"\n"):  # a row that a killed process was writing
                write_atomically(self.metrics_path, content[: content.rfind(b"\n") + 1])
        self.plots.mkdir(exist_ok=True)
        return self

    def close(self) -> None:
        """Give the lock back (the end of the process does too)."""
        lock.release(self.path)

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def save_checkpoint(self, tensors: Mapping[str, Tensor], document: Mapping[str, Any], step: int) -> Path:
        """Write a resumable checkpoint; see :meth:`StepCheckpoints.save`."""
        return self.checkpoints.save(tensors, document, step)

    def latest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest complete, verified checkpoint or None; see :meth:`StepCheckpoints.latest`."""
        return self.checkpoints.latest()

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a row to ``metrics.jsonl`` and hand it to the operating system; NaN and infinity become null.

        Raises:
            CheckpointError: the disk does not take it.
        """
        try:
            with self.metrics_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite_json(dict(row)), allow_nan=False) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self.metrics_path}: cannot be written ({error.strerror}).") from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``; a last line that a killed process left unfinished is not one."""
        try:
            lines = self.metrics_path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        rows = []
        for number, line in enumerate(lines[:-1], start=1):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                raise CheckpointError(f"{self.metrics_path}, line {number}: not a row of JSON.") from None
        return rows

    def drop_metrics_after(self, value: int, key: str = "step") -> None:
        """Remove rows a killed run wrote after the checkpoint it now goes on from, so that none is there twice.

        Args:
            value: the last value of ``key`` to keep.
            key: ``step`` or ``epoch``.
        """
        if self.metrics_path.exists():
            kept = [row for row in self.read_metrics() if row.get(key) is None or row[key] <= value]
            write_atomically(self.metrics_path, "".join(json.dumps(row) + "\n" for row in kept).encode("utf-8"))

    def write_config(self, text: str) -> None:
        """Write the resolved configuration (YAML text)."""
        write_text(self.config_path, text)

    def write_splits(self, record: Mapping[str, Any]) -> None:
        """Write the split record."""
        write_json(self.splits_path, dict(record))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        write_json(self.summary_path, dict(summary))

    def _files(self) -> tuple[Path, ...]:
        return (
            self.config_path,
            self.splits_path,
            self.log_path,
            self.metrics_path,
            self.model_path,
            self.summary_path,
            self.report_path,
            self.base_path,
            self.zero_shot_path,
            self.finetune_path,
        )

    def _refuse_existing(self, overwrite: bool) -> None:
        if self.exists and not overwrite:
            raise UsageError(
                f"{self.path}: the folder already holds a run. Go on with it (--resume), replace it "
                "(--overwrite), or give another run_directory."
            )

    def _remove_run(self) -> None:
        self.checkpoints.remove_all()
        for path in (*self._files(), *self.path.glob("summary.*-epochs.json"), *self.path.glob("report.*-epochs.html")):
            path.unlink(missing_ok=True)
        if self.plots.is_dir() and not self.plots.is_symlink():
            for path in self.plots.iterdir():
                if path.suffix in (".png", ".svg", ".pdf"):
                    path.unlink()

    def _clean(self) -> None:
        self.checkpoints.clean()
        for path in self.path.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)
