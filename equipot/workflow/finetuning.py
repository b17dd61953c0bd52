"""Fine-tuning: a training that begins with a finished potential."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from equipot.config import Config, FinetuneConfig
from equipot.training import DryRun, Progress
from equipot.workflow.training import TrainResult, train


def finetune(
    base: str | Path,
    config: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    quiet: bool = False,
) -> TrainResult | DryRun:
    """Tune a finished potential on frames of one's own, and show what that changed.

    The run is one of :func:`equipot.train` whose configuration has a section ``finetune`` (see
    :class:`equipot.config.FinetuneConfig`; without one every parameter trains and the atomic energies are fitted
    anew). Its folder also keeps ``base.eqp`` and ``zero_shot.eqp``, the base with its new atomic energies.

    Args:
        base: model file, or the folder of a run, to begin with.
        config: a YAML file, or the same as a mapping or a `Config`; it names the frames and has no section ``model``.
        overrides, resume, overwrite, dry_run, progress, quiet: as for :func:`equipot.train`.

    Raises:
        ConfigError, DataError, CheckpointError, ...: as for :func:`equipot.train`; also a base that is not there or
            not a model file, a pattern that matches no parameter, an element that the base does not know.
        Interrupted: the run was asked to stop, and its state is saved.
    """
    path = str(Path(base).expanduser().absolute())
    if isinstance(config, str | Path):
        overrides = [*overrides, f"finetune.base={json.dumps(path)}"]
    elif isinstance(config, Config):
        config = replace(config, finetune=replace(config.finetune or FinetuneConfig(), base=path))
    else:
        config = {**config, "finetune": {**(config.get("finetune") or {}), "base": path}}
    return train(
        config, overrides=overrides, resume=resume, overwrite=overwrite, dry_run=dry_run, progress=progress, quiet=quiet
    )
