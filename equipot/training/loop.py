"""The training loop: epochs of steps, each evaluated with the averaged weights, the best kept, all of it resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from equipot.checkpoint import RunDirectory
from equipot.config.schema import Config
from equipot.errors import Interrupted, NumericalError
from equipot.system.allocator import keep_freed_memory
from equipot.system.signals import stop_on_signal
from equipot.training.epoch import EpochSums
from equipot.training.job import Job, prepare
from equipot.training.memory import OutOfMemory
from equipot.training.optimizer import describe_groups
from equipot.training.progress import NoProgress, Progress
from equipot.training.rows import errors_text, make_row, row_text
from equipot.training.saver import Saver
from equipot.training.schedule import set_learning_rate
from equipot.training.state import TrainingState
from equipot.training.step import StepResult, training_step

if TYPE_CHECKING:
    from equipot.data import DataSets
    from equipot.models import Potential
    from equipot.training.evaluate import Evaluation
    from equipot.training.replay import Replay

logger = logging.getLogger("equipot.training")


@dataclass(frozen=True)
class FitResult:
    """What a finished run gave.

    Attributes:
        potential: with the best averaged weights, in evaluation mode: what ``model.eqp`` holds.
        best_epoch: the epoch they are from (1 is the first).
        best_value: of ``training.best_metric``, None without a validation set.
        epochs: epochs done; fewer than asked for after early stopping.
        steps: optimiser steps.
        train_seconds: time of training, over all interruptions.
        heads: other levels of theory of the result, by name.
    """

    potential: Potential
    best_epoch: int
    best_value: float | None
    epochs: int
    steps: int
    train_seconds: float
    heads: Mapping[str, Potential] = field(default_factory=dict)


def fit(
    potential: Potential,
    datasets: DataSets,
    config: Config,
    run: RunDirectory,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
    metadata: Mapping[str, Any] | None = None,
    export: Callable[[Potential], tuple[Potential, dict[str, Potential]]] | None = None,
    replay: Replay | None = None,
) -> FitResult:
    """Train a potential.

    Args:
        potential: trained in place.
        datasets: training and validation graphs, and the force rms of the training set.
        config: its loss, optimizer, schedule, training, device and seed are used here.
        run: an existing run folder; gets ``metrics.jsonl``, checkpoints and ``model.eqp``.
        resume: go on from the newest checkpoint where there is one. The result equals that of an unbroken run, on a
            CPU to the bit.
        progress: how to show where the run is; default: not at all (the log has every line).
        stop: asked after each step whether to save and stop; default: SIGTERM, SIGINT and SIGUSR1 say so.
        metadata: goes into ``model.eqp``, with the epoch and its validation errors.
        export: what trains -> the potential that is the result, and other heads by name (of a fine-tuning that trains
            corrections to frozen weights); default: they are the same.
        replay: structures mixed into the steps besides.

    Raises:
        Interrupted: the run was asked to stop; its state is saved.
        NumericalError: ``training.max_bad_steps`` steps in a row were not finite, or the weights became so.
        OutOfMemory: a batch does not fit; the state before it is saved.
        ConfigError, DataError: see :func:`equipot.training.job.prepare`.
        CheckpointError: the checkpoint does not fit the configuration.
    """
    keep_freed_memory()
    job, progress = prepare(datasets, config, replay), progress or NoProgress()
    state = job.new_state(potential)

    def say(line: str) -> None:
        logger.info(line)
        progress.report(line)

    if resume and state.restore(run):
        say(f"Resumed after {state.epoch} epochs and {state.step} steps.")
    else:
        logger.info("Parameters:\n%s", "\n".join(describe_groups(potential, state.optimizer)))
    if job.warmup_steps < config.schedule.warmup_steps:
        say(
            f"Warm-up of {job.warmup_steps} steps instead of schedule.warmup_steps={config.schedule.warmup_steps}: it "
            f"is no more than a tenth of the run's steps."
        )
    run.drop_metrics_after(state.epoch if state.step else -1, key="epoch")
    saver = Saver(run, state, config.training, metadata, export)
    with nullcontext(stop) if stop is not None else stop_on_signal() as stop:
        progress.begin(config.training.epochs, state.epoch)
        try:
            _run_epochs(job, state, run, saver, progress, say, stop)
        except Interrupted:
            saver.save()
            name = getattr(stop, "signal_name", None) or "request"
            raise Interrupted(
                f"Stopped by {name} after {state.step} steps, {state.epoch} of {config.training.epochs} "
                f"epochs. The state is saved in {run.path}; the same command with --resume goes on."
            ) from None
        except (NumericalError, OutOfMemory):
            with suppress(NumericalError):  # weights that are not finite themselves are not saved
                saver.save()
            raise
        finally:
            progress.end()
    _choose_final(job, state, say)
    saver.save()
    state.ema.load_weights(state.best.weights)
    result, heads = (potential, {}) if export is None else export(potential)
    return FitResult(
        result.eval(),
        state.best.epoch,
        state.best.value if job.validation else None,
        state.epoch,
        state.step,
        state.seconds,
        heads,
    )


def _run_epochs(
    job: Job,
    state: TrainingState,
    run: RunDirectory,
    saver: Saver,
    progress: Progress,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> None:
    """Epochs until the last one, or until early stopping."""
    training = job.config.training
    if state.step == 0 and job.validation:  # what the untrained potential gives
        _finish_epoch(job, state, run, say, None, job.validate(state, 0, stop), 0.0)
    while state.epoch < training.epochs and not _is_patience_over(job, state):
        stage_two, steps = job.is_stage_two(state.epoch), job.steps(state.epoch)
        if stage_two and state.batch == 0 and not job.is_stage_two(state.epoch - 1):
            say(f"Stage two begins: loss weights {job.loss.weights(True)} of energy, forces and stress.")
            state.schedule.reset()  # what came before was measured with other weights
        clock = time.perf_counter()
        for batches in job.load(steps[state.batch :]):
            done = state.epoch + state.batch / len(steps)
            rate = set_learning_rate(
                state.optimizer, state.schedule.factor(state.step, done / training.epochs, stage_two=stage_two)
            )
            result = training_step(
                state.potential,
                batches.batches,
                job.loss,
                state.optimizer,
                state.ema,
                clip_norm=training.clip_norm,
                stage_two=stage_two,
                replayed=batches.replay,
                replay=job.replay,
            )
            clock, seconds = time.perf_counter(), time.perf_counter() - clock
            state.count(result, rate, seconds)
            if result.is_bad:
                _warn(state, result, training.max_bad_steps)
            progress.advance(state.epoch + state.batch / len(steps), f"loss {result.loss:.3g}")
            saver.save_if_due()
            if stop():
                raise Interrupted
        is_due = (state.epoch + 1) % training.evaluate_every == 0 or state.epoch + 1 == training.epochs
        evaluation = job.validate(state, state.epoch, stop) if job.validation and is_due else None
        _finish_epoch(job, state, run, say, state.sums, evaluation, time.perf_counter() - clock)
        if stop():
            raise Interrupted


def _finish_epoch(
    job: Job,
    state: TrainingState,
    run: RunDirectory,
    say: Callable[[str], None],
    sums: EpochSums | None,
    evaluation: Evaluation | None,
    seconds: float,
) -> None:
    """Judge the epoch, write its row, say it, and begin the next one. Without ``sums`` it is epoch 0."""
    phase, stage = job.phase(state.epoch), 2 if job.is_stage_two(state.epoch) else 1
    state.seconds += seconds
    is_best = False
    if sums is not None:
        seconds += sums.seconds
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, EpochSums()
        value = job.value(sums, evaluation)
        if value is not None:
            state.schedule.observe(state.epoch, value)
        if evaluation is not None:
            is_best = state.offer(state.epoch, phase, value, evaluation.metrics["all"])
    row = make_row(
        epoch=state.epoch,
        step=state.step,
        stage=stage,
        train=sums,
        evaluation=evaluation,
        is_best=is_best,
        seconds=seconds,
        total_seconds=state.seconds,
    )
    run.append_metrics(row)
    say(row_text(row, job.config.training.epochs))


def _is_patience_over(job: Job, state: TrainingState) -> bool:
    patience, last = job.config.training.early_stopping_patience, 0 if state.best is None else state.best.epoch
    return patience is not None and bool(job.validation) and state.epoch - last >= patience


def _warn(state: TrainingState, result: StepResult, limit: int) -> None:
    """Say which frames made a step non-finite; stop after too many in a row."""
    names, more = "; ".join(result.suspects[:10]), len(result.suspects) - 10
    text = (
        f"Step {state.step} was skipped, its loss or gradient is not finite. It came from: {names}"
        f"{f'; and {more} more' if more > 0 else ''}."
    )
    logger.warning(text)
    if state.num_bad_steps_in_a_row >= limit:
        raise NumericalError(
            f"{limit} steps in a row were not finite. {text} Look at these frames with 'equipot data "
            "check', or lower optimizer.learning_rate."
        )


def _choose_final(job: Job, state: TrainingState, say: Callable[[str], None]) -> None:
    """Settle which epoch is the best one at the end of a run."""
    if not job.validation:
        say("There is no validation set: the model is the average of the weights at the end.")
        state.take(state.epoch, 0, 0.0, {})
    elif state.best is None:
        raise NumericalError(
            "No evaluation of the validation set gave a finite number, so no epoch can be chosen. "
            "Lower optimizer.learning_rate and start again."
        )
    else:
        say(f"The best epoch is {state.best.epoch}: validation {errors_text(state.best.metrics)}.")
