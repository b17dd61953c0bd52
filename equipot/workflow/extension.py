"""A finished run that is to go on for more epochs: when that is allowed, and what its schedule then is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from equipot.checkpoint import RunDirectory
from equipot.config import Config
from equipot.errors import ConfigError
from equipot.training.schedule import Schedule


@dataclass(frozen=True)
class Extension:
    """From how many epochs to how many a finished run goes on.

    Attributes:
        done: epochs of the finished run.
        stored: its configuration, with the lengths of the longer run.
    """

    done: int
    stored: Config

    def lines(self, config: Config) -> list[str]:
        """What is printed: the schedule is that of a run of the new length, entered in the middle."""
        epochs, optimizer = config.training.epochs, config.optimizer
        lines = [f"The finished run of {self.done} epochs goes on to {epochs}."]
        if config.schedule.name == "cosine":
            schedule = Schedule(config.schedule)
            far = config.schedule.warmup_steps  # beyond the warm-up
            begin, end = (optimizer.learning_rate * schedule.factor(far, done) for done in (self.done / epochs, 1.0))
            lines.append(
                f"The learning rate is that of a cosine over {epochs} epochs from here on: {begin:.3g}, falling to "
                f"{end:.3g}; the finished run had come down to {end:.3g}, so errors rise at first."
            )
        else:
            lines.append(f"The schedule ({config.schedule.name}) goes on where it was.")
        stage_two = config.loss.stage_two
        if stage_two is not None:
            first = stage_two.start * epochs
            lines.append(
                f"Stage two begins after {first:g} epochs"
                + (", till then the loss weights are those of stage one again." if self.done < first else ": at once.")
            )
        return lines


def find_extension(run: RunDirectory, resolved: Config, stored: Config) -> Extension | None:
    """Whether a run that is resumed is a finished one that is asked for more epochs.

    Args:
        run: the run folder.
        resolved: what is asked for.
        stored: the configuration in the folder.

    Returns:
        None where the number of epochs is the same, or where the run is not finished (then nothing may change).

    Raises:
        ConfigError: fewer epochs than were done, or early stopping would end the longer run at once.
    """
    if not run.summary_path.exists() or resolved.training.epochs == stored.training.epochs:
        return None
    rows = [row for row in run.read_metrics() if row.get("epoch") is not None]
    done = rows[-1]["epoch"] if rows else stored.training.epochs
    if resolved.training.epochs <= done:
        raise ConfigError(
            f"The run in {run.path} is finished after {done} epochs; training.epochs={resolved.training.epochs} would "
            f"be none more. To go on with it give more than {done}."
        )
    patience = resolved.training.early_stopping_patience
    best = max((row["epoch"] for row in rows if row.get("is_best")), default=0)
    if patience is not None and done - best >= patience:
        raise ConfigError(
            f"The run in {run.path} stopped early: its best epoch is {best}, {done - best} epochs before its end. With "
            f"training.early_stopping_patience={patience} it would stop at once; set a larger one, or null."
        )
    longer = replace(stored.training, epochs=resolved.training.epochs, early_stopping_patience=patience)
    return Extension(done, replace(stored, training=longer))


def set_aside(run: RunDirectory, done: int) -> list[Path]:
    """Rename the summary and report of the finished run, which is not finished any more; returns their new names."""
    kept = []
    for path in (run.summary_path, run.report_path):
        if path.exists():
            kept.append(path.rename(path.with_name(f"{path.stem}.{done}-epochs{path.suffix}")))
    return kept
