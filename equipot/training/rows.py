"""The row of an epoch: what ``metrics.jsonl`` gets, and the same as a line with units for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from equipot.training.epoch import EpochSums
    from equipot.training.evaluate import Evaluation


def make_row(
    *,
    epoch: int,
    step: int,
    stage: int,
    train: EpochSums | None,
    evaluation: Evaluation | None,
    is_best: bool,
    seconds: float,
    total_seconds: float,
) -> dict[str, Any]:
    """The row of an epoch; epoch 0 is the untrained potential.

    Returns:
        ``epoch, step, stage, learning_rate`` (largest, at the last step), ``train`` (loss, ``replay_loss`` where
        structures are replayed, ``energy_share``, ``forces_share``, ``stress_share``, grad_norm, num_bad_steps and
        errors with the weights of each step, or None), ``validation`` (loss and errors of the averaged weights, or
        None), ``is_best, seconds, total_seconds``.
    """
    validation = None if evaluation is None else {"loss": evaluation.loss, **evaluation.metrics["all"]}
    return {
        "epoch": epoch,
        "step": step,
        "stage": stage,
        "learning_rate": None if train is None else train.learning_rate,
        "train": None if train is None else train.row(),
        "validation": validation,
        "is_best": is_best,
        "seconds": seconds,
        "total_seconds": total_seconds,
    }


def duration(seconds: float) -> str:
    """A time as people say it: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def errors_text(metrics: Mapping[str, Any]) -> str:
    """Mean absolute errors with their units, those there are."""
    parts = [
        f"{name} {metrics[key]:{form}} {unit}"
        for name, key, form, unit in (
            ("E", "energy_mae_mev_per_atom", ".2f", "meV/atom"),
            ("F", "forces_mae_mev_per_angstrom", ".1f", "meV/Å"),
            ("S", "stress_mae_gpa", ".3f", "GPa"),
        )
        if metrics.get(key) is not None
    ]
    return ", ".join(parts) or "no labels"


def row_text(row: Mapping[str, Any], epochs: int) -> str:
    """One line for a row: loss with the share of each term, gradient, learning rate, MAE, time and time left."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    train, validation = row["train"], row["validation"]
    if train is not None:
        if train["loss"] is not None:
            shares = " ".join(
                f"{letter} {100 * train[key]:.0f} %"
                for letter, key in (("E", "energy_share"), ("F", "forces_share"), ("S", "stress_share"))
                if train[key]
            )
            parts.append(f"loss {train['loss']:.4f}" + (f" ({shares})" if shares else ""))
            if "replay_loss" in train:
                parts.append(f"replay {train['replay_loss']:.4f}")
            parts.append(f"gradient {train['grad_norm']:.2g}, rate {row['learning_rate']:.2g}")
        if train["num_bad_steps"]:
            parts.append(f"{train['num_bad_steps']} steps skipped")
    if validation is not None:
        parts.append(f"validation {errors_text(validation)}" + (" *" if row["is_best"] else ""))
    elif train is not None:
        parts.append(f"training {errors_text(train)}")
    left = row["total_seconds"] / row["epoch"] * (epochs - row["epoch"]) if row["epoch"] else 0
    parts.append(f"{row['seconds']:.1f} s" + (f", {duration(left)} left" if left else ""))
    return " | ".join(parts)
