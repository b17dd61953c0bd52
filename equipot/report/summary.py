"""``summary.json``: the errors of every split and the facts of a run, for programs to read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipot.report.files import write_text
from equipot.report.tables import Metrics

#: The keys of each group of metrics, in the order they are written.
METRIC_KEYS = (
    "num_configurations",
    "energy_mae_mev_per_atom",
    "energy_rmse_mev_per_atom",
    "forces_mae_mev_per_angstrom",
    "forces_rmse_mev_per_angstrom",
    "stress_mae_gpa",
    "stress_rmse_gpa",
)


def build_summary(
    metrics_by_split: Mapping[str, Metrics],
    *,
    num_parameters: int,
    train_seconds: float | None,
    epochs: int | None,
    best_epoch: int | None,
    elements: Sequence[str],
    cutoff: float,
    **more: Any,
) -> dict[str, Any]:
    """Gather what ``summary.json`` and ``equipot eval --json`` hold.

    Args:
        metrics_by_split: split -> ``all`` or a config_type -> metrics.
        num_parameters: of the potential.
        train_seconds: wall time of training (s), all parts of a resumed run together.
        epochs: epochs run.
        best_epoch: the epoch whose weights are in the model file.
        elements: symbols in ascending atomic number.
        cutoff: Angstrom.
        more: anything else that goes to JSON.

    Returns:
        One key a split, each with its groups of :data:`METRIC_KEYS` (None where there is no such label), and the facts
        by name.
    """
    summary: dict[str, Any] = {
        split: {name: {key: group.get(key) for key in METRIC_KEYS} for name, group in metrics.items()}
        for split, metrics in metrics_by_split.items()
    }
    return {
        **summary,
        "num_parameters": num_parameters,
        "train_seconds": train_seconds,
        "epochs": epochs,
        "best_epoch": best_epoch,
        "elements": list(elements),
        "cutoff": cutoff,
        **more,
    }


def to_json(value: Any) -> str:
    """Write strict JSON: numbers that are not finite become null."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy arrays and numbers, tensors
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> Path:
    """Write a summary, whole or not at all."""
    return write_text(path, to_json(summary))
