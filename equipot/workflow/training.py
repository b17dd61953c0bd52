"""From a configuration to a model with its errors, properties, plots and report: the main job."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equipot.checkpoint import RunDirectory, read_model_document, save_model
from equipot.config import Config, from_dict, load_config, to_dict, to_yaml
from equipot.data import examples
from equipot.data.datasets import DataSets
from equipot.data.paths import expand_files
from equipot.errors import ConfigError, EquipotError, Interrupted, UsageError
from equipot.finetuning.atomic_energies import isolated_drift
from equipot.graph import AtomicGraph
from equipot.models import Potential
from equipot.models.wired import WiredArchitecture
from equipot.properties import PropertyComparison, build_crystal, compare
from equipot.report.run_report import library_versions, write_report
from equipot.report.summary import build_summary
from equipot.report.tables import Metrics, error_table
from equipot.system.signals import StopRequest, stop_on_signal
from equipot.training import (
    DryRun,
    Evaluation,
    FitResult,
    NoProgress,
    Progress,
    fit,
    make_progress,
    resolve_device,
)
from equipot.training import dry_run as measure
from equipot.training.evaluate import batches_by_edges, evaluate_batches
from equipot.workflow.beginnings import FromBase, FromScratch, Prepared, elements_in
from equipot.workflow.checking import check_after_training, check_summary
from equipot.workflow.console import Console
from equipot.workflow.extension import Extension, find_extension, set_aside
from equipot.workflow.finetune_report import FinetuneReport, Given, write_finetune_report
from equipot.workflow.hints import hints
from equipot.workflow.overview import atomic_energies_table, data_table
from equipot.workflow.record import make_record, private_folders
from equipot.workflow.resolved import adopt_numbers, require_same_run

SPLITS = ("train", "validation", "test")
#: By so much (eV) may training move an isolated atom before it is said.
ISOLATED_DRIFT = 0.001


@dataclass(frozen=True)
class TrainResult:
    """What a training run gave, and where it is.

    Attributes:
        potential: with the best averaged weights, in evaluation mode, on the CPU.
        metrics: split -> ``all`` or a config_type -> errors, as in ``summary.json``.
        summary: everything in ``summary.json``.
        comparisons: crystal properties beside their reference.
        directory: the run folder.
        model_path, summary_path: files in it.
        report_path: the page in it, or None where it was left out or could not be written.
        finetuning: of a fine-tuning, what it changed, as in ``finetune.json``.
        report_error: why the report could not be written; None where it was.
    """

    potential: Potential
    metrics: dict[str, Metrics]
    summary: dict[str, Any]
    comparisons: tuple[PropertyComparison, ...]
    directory: Path
    model_path: Path
    summary_path: Path
    report_path: Path | None
    finetuning: dict[str, Any] | None = None
    report_error: str | None = None


def train(
    config: str | Path | Mapping[str, Any] | Config,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    quiet: bool = False,
) -> TrainResult | DryRun:
    """Train a potential as a configuration says, and show how good it is.

    Args:
        config: a YAML file, or the same as a mapping or a `Config`.
        overrides: ``section.key=value`` texts applied on top of a file.
        resume: go on with the run in the run folder; it ends as if it had never stopped. A finished run goes on where
            ``training.epochs`` is larger than it was.
        overwrite: replace the run in the run folder.
        dry_run: read the data, build the model and time a few steps; nothing is written.
        progress: how to show where the run is; default: a bar on a terminal, lines otherwise.
        quiet: print nothing.

    Returns:
        The trained potential with its errors and files; for a dry run its estimate.

    Raises:
        ConfigError, DataError, CheckpointError, ...: the input is not usable; nothing was written.
        Interrupted: the run was asked to stop, and its state is saved.
    """
    if resume and overwrite:
        raise UsageError("resume and overwrite exclude each other: go on with the run, or replace it.")
    config, directory = _load(config, overrides)
    data, lines = expand_files(config.data, directory)
    config = replace(config, data=data)
    _check_properties(config)  # these two need no data: say now what is wrong with them
    beginning = (FromScratch if config.finetune is None else FromBase)(config, directory)
    console = Console(quiet=quiet)
    for line in lines:
        console.line(line)
    progress = progress or (NoProgress() if quiet else make_progress())
    run = RunDirectory(config.run_directory or Path("runs") / config.name, config.training.keep_checkpoints)
    if not dry_run:
        _check_run(run, resume=resume, overwrite=overwrite)
    resolve_device(config.device)
    datasets = beginning.load(read_split(run) if resume else None)
    resolved = beginning.resolve(datasets)
    extension = None
    if resume and not dry_run:
        resolved, extension = _continue(run, config, resolved, datasets)
    prepared = beginning.begin(resolved, datasets)
    _introduce(console, datasets, resolved, prepared)
    if dry_run:
        estimate = measure(prepared.potential, datasets, resolved, replay=prepared.replay)
        is_verbose = logging.getLogger("equipot").isEnabledFor(logging.INFO)
        for line in (*estimate.lines(), *(estimate.groups if is_verbose else ())):
            console.line(line)
        return estimate
    with run.resume() if resume else run.create(overwrite), console.log_to(run.log_path):
        if extension is not None:
            set_aside(run, extension.done)
            for line in extension.lines(resolved):
                console.line(line)
        run.write_config(to_yaml(resolved))
        run.write_splits(datasets.split_record)
        prepared.save_models(run)
        console.line(f"Run folder: {run.path}\n")
        # Counted before the first step: what trains is merged at the end.
        tuned = (
            None if config.finetune is None else _Tuned(beginning.given, prepared.potential.num_trainable_parameters())
        )
        with stop_on_signal() as stop:
            result = fit(
                prepared.potential,
                datasets,
                resolved,
                run,
                resume=resume,
                progress=progress,
                stop=stop,
                metadata=_metadata(resolved, datasets, prepared),
                export=prepared.export,
                replay=prepared.replay,
            )
            with _after_training(run, stop):
                return _conclude(console, run, resolved, datasets, result, stop, tuned)


def _load(config: str | Path | Mapping[str, Any] | Config, overrides: Sequence[str]) -> tuple[Config, Path]:
    """The configuration and the folder its file names are relative to."""
    if isinstance(config, str | Path):
        return load_config(config, overrides), Path(config).expanduser().parent
    if overrides:
        raise UsageError("Overrides go on top of a configuration file; change the mapping or Config itself instead.")
    return (config if isinstance(config, Config) else from_dict(config)), Path()


def _check_properties(config: Config) -> None:
    """Find entries without meaning now rather than after hours of training."""
    from ase.calculators.emt import parameters

    for entry in config.properties:
        unknown = sorted(set(build_crystal(entry).symbols) - set(parameters))
        if entry.reference == "emt" and unknown:
            raise ConfigError(
                f"properties entry {entry.name!r}: ASE's EMT does not know {', '.join(unknown)}; give "
                "the reference as numbers or leave it out."
            )


def _check_run(run: RunDirectory, *, resume: bool, overwrite: bool) -> None:
    """Refuse before the data are read what the run folder will refuse anyway."""
    if resume and not run.exists:
        raise UsageError(f"{run.path}: there is no run to resume; start one without --resume.")
    if run.exists and not resume and not overwrite:
        raise UsageError(
            f"{run.path}: the folder already holds a run. Go on with it (--resume), replace it "
            "(--overwrite), or give another name or run_directory."
        )


def read_split(run: RunDirectory) -> dict[str, Any] | None:
    """Which frame of which file went where in a run; None where that was not written yet or cannot be read."""
    try:
        record = json.loads(run.splits_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _continue(
    run: RunDirectory, config: Config, resolved: Config, datasets: DataSets
) -> tuple[Config, Extension | None]:
    """The resolved configuration of the run on disk, if it is the same run or the same made longer."""
    try:
        stored, record = load_config(run.config_path), read_split(run)
    except (OSError, ValueError):
        record = None
    if record is None:
        raise UsageError(
            f"{run.path}: the run stopped before training began and cannot be resumed; start it again with --overwrite."
        )
    extension = find_extension(run, resolved, stored)
    if extension is not None:
        stored = extension.stored
    require_same_run(
        config, resolved, stored, hashes=datasets.hashes, stored_hashes=record.get("file_sha256", {}), where=run.path
    )
    return adopt_numbers(resolved, stored), extension


def _introduce(console: Console, datasets: DataSets, config: Config, prepared: Prepared) -> None:
    """Say what goes in: data, labels, atomic energies, model."""
    console.line("")
    for line in datasets.report:
        # What the tables below hold, and the warnings, are shown once.
        if not line.lstrip().startswith(
            ("warning:", "energy labels", "forces labels", "stress labels", "atomic energies", "rank ", "energies less")
        ):
            console.line(line)
    console.line("")
    console.table(data_table(datasets))
    console.table(atomic_energies_table(datasets.atomic_energies, elements_in(datasets)))
    for table in prepared.tables:
        console.table(table)
    for warning in datasets.warnings:
        console.warning(warning)
    for hint in hints(datasets, config):
        console.line(f"Hint: {hint}")
    potential = prepared.potential
    console.line(
        f"Model: {describe_model(potential)}, {potential.num_trainable_parameters():,} parameters"
        + ("" if config.finetune is None else " train")
    )
    if isinstance(potential.architecture, WiredArchitecture):
        for remark in potential.architecture.remarks():
            console.line(f"Hint: {remark}")
    console.line(
        f"Scale {_shown(potential.scale)} eV, shift {_shown(potential.shift)} eV/atom, "
        f"{potential.config.avg_num_neighbors:.4g} neighbours an atom, device {resolve_device(config.device)}"
    )
    for line in prepared.lines:
        console.line(line)


def describe_model(potential: Potential) -> str:
    """One line: architecture, elements, cutoff, precision."""
    elements = potential.elements
    known = " ".join(elements) if len(elements) <= 12 else f"{len(elements)} elements"
    return f"{potential.config.architecture}, {known}, cutoff {potential.cutoff:g} Å, {potential.config.dtype}"


def _shown(values: torch.Tensor) -> str:
    return f"{float(values[0]):.4g}" if bool((values == values[0]).all()) else "by element"


def _metadata(config: Config, datasets: DataSets, prepared: Prepared) -> dict[str, Any]:
    """What the model file says besides its own configuration; it is shared, so without the folders of this machine."""
    card = config.model_card
    return {
        "name": config.name,
        "purpose": card.purpose,
        "level_of_theory": card.level_of_theory,
        "licence": card.licence,
        "citation": card.citation,
        "atomic_energies_origin": datasets.atomic_energies.origin,
        "training_data": {
            "sha256": dict(datasets.hashes),
            "source": config.data.source,
            "num_frames": {split: len(getattr(datasets, split)) for split in SPLITS},
            **({} if datasets.energy_keys is None else {"energy_key": datasets.energy_keys[0]}),
        },
        "config": to_dict(shareable(config)),
        examples.KEY: examples.choose_examples(datasets.frames["train"]),
        **prepared.metadata,
    }


def shareable(config: Config) -> Config:
    """The configuration without the folders of this machine, for what is passed on."""
    finetune = config.finetune
    if finetune is not None:
        finetune = replace(finetune, base=Path(finetune.base).name)
    return replace(config, data=replace(config.data, root=None), run_directory=None, finetune=finetune)


@contextmanager
def _after_training(run: RunDirectory, stop: StopRequest):
    """Between training and the end: a request to stop is honoured, and what is done already is safe."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        name = getattr(stop, "signal_name", None) or "request"
        raise Interrupted(
            f"Stopped by {name} after training: {run.model_path} is complete; the same command with "
            "--resume evaluates it and writes the report."
        ) from None


def evaluated_graphs(datasets: DataSets, config: Config) -> tuple[dict[str, list[AtomicGraph]], list[str]]:
    """The graphs whose errors are told, by split, and a sentence where they are a sample of the training graphs."""
    graphs = {split: getattr(datasets, split) for split in SPLITS if getattr(datasets, split)}
    most, total = config.training.evaluated_training_frames, len(datasets.train)
    if most is None or total <= most:
        return graphs, []
    chosen = np.random.Generator(np.random.PCG64(config.seed)).permutation(total)[:most]
    graphs["train"] = [datasets.train[place] for place in sorted(chosen.tolist())]
    return graphs, [
        f"errors on training frames are those of a sample of {most} of {total} frames "
        f"(training.evaluated_training_frames)"
    ]


def evaluate_splits(
    potential: Potential, graphs: Mapping[str, Sequence[AtomicGraph]], config: Config, stop: StopRequest
) -> dict[str, Evaluation]:
    """Evaluate the potential on the graphs of every split, keeping the predictions."""
    device = resolve_device(config.device)
    potential.to(device)
    evaluations = {}
    for split, members in graphs.items():
        batches = batches_by_edges(members, config.training.evaluation_batch_edges)
        evaluations[split] = evaluate_batches(potential, batches, device=device, collect=True, stop=stop)
    return evaluations


def compare_properties(potential: Potential, config: Config, stop: StopRequest) -> tuple[PropertyComparison, ...]:
    """Compute the crystals of the configuration, the network in float64 so that differences of stresses are clean."""
    from equipot.interfaces.ase import Calculator

    if not config.properties:
        return ()
    calculator = Calculator(potential, dtype=torch.float64)
    comparisons = []
    for entry in config.properties:
        if stop():
            raise Interrupted
        comparisons.append(compare(entry, calculator))
    return tuple(comparisons)


def _complete_model(run: RunDirectory, potential: Potential, metrics: Mapping[str, Metrics], result: FitResult) -> None:
    """Put what is only known at the end into the model file: the error table and how long the training was."""
    metadata = read_model_document(run.model_path)["metadata"]
    training = {**(metadata.get("training") or {}), "epochs": result.epochs, "seconds": result.train_seconds}
    metadata = {**metadata, "metrics": metrics, "training": training}
    save_model(run.model_path, potential, metadata=metadata, heads=result.heads)
    potential.metadata = metadata


@dataclass(frozen=True)
class _Tuned:
    """What the end of a fine-tuning has to know of its beginning.

    Attributes:
        given: what its report compares with.
        num_trained: how many numbers train.
    """

    given: Given
    num_trained: int


def _compare_with_base(
    console: Console,
    run: RunDirectory,
    potential: Potential,
    datasets: DataSets,
    config: Config,
    result: FitResult,
    stop: StopRequest,
    tuned: _Tuned | None,
) -> FinetuneReport | None:
    """Write and print what a fine-tuning changed; None where the run was none, or where it could not be found out."""
    if tuned is None:
        return None
    _warn_of_isolated_atoms(console, potential, datasets)
    cost = {
        "steps": result.steps,
        "epochs": result.epochs,
        "train_seconds": result.train_seconds,
        "num_trained": tuned.num_trained,
        "num_frames": len(datasets.train),
    }
    try:
        report = write_finetune_report(run, potential, datasets, config, tuned.given, cost, stop)
    except Interrupted:
        raise
    except (EquipotError, OSError, ValueError) as error:  # the model is there; its comparison must not take it away
        console.warning(f"the fine-tuned potential could not be compared with its base ({error})")
        return None
    for table in report.tables:
        console.table(table)
    return report


def _warn_of_isolated_atoms(console: Console, potential: Potential, datasets: DataSets) -> None:
    """Say by how much training has moved atoms whose energies were set to those of isolated-atom frames."""
    if datasets.atomic_energies.origin != "isolated":
        return
    moved = {
        element: change
        for element, change in isolated_drift(potential, datasets.isolated).items()
        if abs(change) > ISOLATED_DRIFT
    }
    if moved:
        shown = ", ".join(f"{element} {change:+.3f} eV" for element, change in moved.items())
        console.warning(
            f"training has moved isolated atoms away from their frames ({shown}), since this base computes "
            "them with its network: energies of atomization are off by as much"
        )


def _conclude(
    console: Console,
    run: RunDirectory,
    config: Config,
    datasets: DataSets,
    result: FitResult,
    stop: StopRequest,
    tuned: _Tuned | None = None,
) -> TrainResult:
    """Evaluate, compare, write and print everything a finished run has."""
    from equipot.report.property_plots import property_table

    begin = time.perf_counter()
    graphs, sampled = evaluated_graphs(datasets, config)
    evaluations = evaluate_splits(result.potential, graphs, config, stop)
    metrics = {split: evaluation.metrics for split, evaluation in evaluations.items()}
    potential = result.potential.to("cpu")
    console.line("")
    console.table(error_table(metrics, title="Errors of the best epoch's averaged weights"))
    for sentence in sampled:
        console.line(f"{sentence[0].upper()}{sentence[1:]}.")
    for leak in datasets.leaks:
        console.warning(leak.sentence())
    comparisons = compare_properties(potential, config, stop)
    if comparisons:
        console.table(property_table(comparisons))
    check = check_after_training(
        console,
        potential,
        [frame for split in SPLITS for frame in datasets.frames[split]],
        config.physics_check,
        name=config.name,
        stop=stop,
    )
    if stop():
        raise Interrupted
    summary = build_summary(
        metrics,
        num_parameters=potential.num_parameters(),
        train_seconds=result.train_seconds,
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        elements=potential.elements,
        cutoff=potential.cutoff,
        name=config.name,
        steps=result.steps,
        seconds_after_training=time.perf_counter() - begin,
        properties={comparison.name: comparison.to_dict() for comparison in comparisons},
        versions=library_versions(),
        physics_check=None if check is None else check_summary(check),
        leaks=[leak.to_dict() for leak in datasets.leaks],
    )
    run.write_summary(summary)
    _complete_model(run, potential, metrics, result)
    changed = _compare_with_base(console, run, potential, datasets, config, result, stop, tuned)
    run.report_path.unlink(missing_ok=True)  # one of an earlier end of this run would say other numbers
    report_error = _write_report(
        console,
        run,
        config,
        datasets,
        potential,
        evaluations,
        graphs=graphs,
        notes=[*datasets.warnings, *sampled],
        summary=summary,
        metrics=metrics,
        sections=() if changed is None else (changed.section,),
        comparisons=comparisons,
        check=check,
    )
    console.line(f"Best epoch {result.best_epoch} of {result.epochs}, trained for {result.train_seconds:.0f} s.")
    for label, path in (("Model", run.model_path), ("Report", run.report_path), ("Summary", run.summary_path)):
        if path.exists():
            console.line(f"{label + ':':<9}{path}")
    return TrainResult(
        potential,
        metrics,
        summary,
        comparisons,
        run.path,
        run.model_path,
        run.summary_path,
        run.report_path if run.report_path.exists() else None,
        None if changed is None else changed.document,
        report_error,
    )


def _write_report(
    console: Console,
    run: RunDirectory,
    config: Config,
    datasets: DataSets,
    potential: Potential,
    evaluations: dict[str, Evaluation],
    **known: Any,
) -> str | None:
    """Write page and plots, unless ``report: off``; the kind of error where that failed, which is said."""
    if config.report == "off":
        console.line(f"No report (report: off); `equipot report {run.path}` writes it.")
        return None
    try:
        with console.progress("Report") as progress:
            record = make_record(
                console,
                progress=progress,
                model_path=run.model_path,
                potential=potential,
                frames=datasets.frames,
                evaluations=evaluations,
                with_findings=config.data_check == "on",
                private=private_folders(config, run.path),
                hashes=datasets.hashes,
                name=config.name,
                model=describe_model(potential),
                rows=run.read_metrics(),
                tables=[data_table(datasets), atomic_energies_table(datasets.atomic_energies, elements_in(datasets))],
                config=to_yaml(shareable(config)),
                document=read_model_document(run.model_path),
                **known,
            )
            progress("drawing plots and writing the page", 0, 0)
            write_report(record, run.report_path, run.plots)
    except Interrupted:
        raise
    except Exception as error:  # the model and its numbers are there; a plot must not take them away
        kind = type(error).__name__
        reason = "the memory of this machine is not enough" if isinstance(error, MemoryError) else error
        console.warning(
            f"the report could not be written ({kind}: {reason}); model and summary are complete, and "
            f"`equipot report {run.path}` tries again."
        )
        return kind
    return None
