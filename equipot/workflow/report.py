"""The report of a run or a model, made again or for the first time: ``equipot report``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from equipot.checkpoint import RunDirectory, head_names, load_model, read_model_document
from equipot.config import KeysConfig, UnitsConfig, load_config, to_yaml
from equipot.data.datasets import load_datasets
from equipot.data.paths import file_sha256
from equipot.data.reading import read_frames
from equipot.errors import DataError, Interrupted, UsageError
from equipot.models import Potential
from equipot.report.files import refuse_existing
from equipot.report.finetune_plots import finetune_tables
from equipot.report.html import Section
from equipot.report.run_report import RunRecord, library_versions, write_report
from equipot.report.summary import build_summary
from equipot.system.signals import StopRequest, stop_on_signal
from equipot.training import Evaluation
from equipot.training import evaluate as evaluate_graphs
from equipot.workflow.beginnings import elements_in
from equipot.workflow.checking import check_after_training
from equipot.workflow.console import Console
from equipot.workflow.evaluation import graphs_of
from equipot.workflow.finetune_report import FILE as FINETUNE_FILE
from equipot.workflow.overview import atomic_energies_table, data_table
from equipot.workflow.record import make_record, private_folders
from equipot.workflow.training import (
    SPLITS,
    compare_properties,
    describe_model,
    evaluate_splits,
    read_split,
    shareable,
)

#: The label of frames given on the command line, beside train, validation and test.
DATA = "data"


def report(
    path: str | Path,
    data: str | Path | None = None,
    *,
    output: str | Path | None = None,
    keys: KeysConfig | None = None,
    units: UnitsConfig | None = None,
    check: str | None = None,
    head: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Path:
    """Write the report of a run or a model: one HTML file that needs nothing else.

    Args:
        path: a run folder or a model file.
        data: labelled frames to compare with, besides those of the run.
        output: file to write; default: ``report.html`` of the run, which is replaced, or for a model its name with
            ``.html`` in the present folder.
        keys, units: names and units of the labels in ``data``.
        check: ``short``, ``full`` or ``off``: form of the physics check; default: that of the run, short for a model.
        head: which level of theory, where the model file holds several; default for a run: the one it trained.
        overwrite: whether ``output`` may replace a file.
        quiet: print nothing.

    Returns:
        The file written.

    Raises:
        UsageError: there is no such run or model, or the output exists.
        DataError, CheckpointError: data or model cannot be read.
    """
    path, console = Path(path).expanduser(), Console(quiet=quiet)
    is_run = path.is_dir()
    if is_run and not RunDirectory(path).model_path.is_file():
        raise UsageError(
            f"{path} is a folder without a model.eqp: give a model file or the folder of a run that has been trained."
        )
    if not path.exists():
        raise UsageError(f"There is no {path}: give a run folder or a model file (.eqp).")
    if output is None:
        target = RunDirectory(path).report_path if is_run else Path(f"{path.stem}.html")
    else:
        target = Path(output).expanduser()
    if output is not None or not is_run:
        refuse_existing(target, overwrite=overwrite)
    with stop_on_signal() as stop:
        extra = _Frames(data, keys or KeysConfig(), units or UnitsConfig()) if data is not None else None
        make = _of_run if is_run else _of_model
        record = make(console, path, extra, check, head, stop)
        if stop():
            raise Interrupted(f"Stopped by {stop.signal_name}; nothing was written.")
    write_report(record, target, None)
    return target


class _Frames:
    """Labelled frames given beside the run or model."""

    def __init__(self, data: str | Path, keys: KeysConfig, units: UnitsConfig) -> None:
        self.path = Path(data).expanduser()
        self.file = read_frames(data, keys=keys, units=units)
        for frame in self.file.frames:
            frame.source = f"{self.path.name} frame {frame.index}"
        if not any(count for count, _ in self.file.report.coverage.values()):
            raise DataError(f"{data}: there is no label to compare with; say which they are with --keys.")

    def evaluate(self, potential) -> tuple[list, Evaluation]:
        graphs = graphs_of(self.file.frames, potential)
        return graphs, evaluate_graphs(potential, graphs, collect=True)


def _of_run(
    console: Console, path: Path, extra: _Frames | None, form: str | None, head: str | None, stop: StopRequest
) -> RunRecord:
    run = RunDirectory(path)
    if not run.config_path.is_file():
        raise UsageError(f"{path} is a folder but not of a run: it has no config.yaml.")
    config = load_config(run.config_path)
    trained, *_ = [*head_names(read_model_document(run.model_path)), None]  # its own head comes first
    potential, document = _load(run.model_path, trained if head is None else head)
    stored = _json(run.summary_path)
    graphs: dict[str, list] = {}
    frames, evaluations, tables, hashes = {}, {}, [], {}
    metrics: dict[str, Any] = {split: stored[split] for split in SPLITS if isinstance(stored.get(split), Mapping)}
    notes: list[str] = []
    leaks = stored.get("leaks") or []
    try:
        data = replace(
            config.data,
            elements=tuple(potential.elements),
            atomic_energies=dict(zip(potential.elements, potential.atomic_energies.tolist())),
        )
        datasets = load_datasets(data, potential.cutoff, config_directory=run.path, stored_split=read_split(run))
    except (DataError, OSError) as error:
        console.warning(f"the data of the run cannot be read, so the report has its numbers but no frames: {error}")
        notes.append(
            "The data of the run could not be read when this page was written: plots of predictions and "
            "frames are not on it."
        )
    else:
        evaluations = evaluate_splits(potential, datasets, config, stop)
        metrics = {split: evaluation.metrics for split, evaluation in evaluations.items()}
        graphs = {split: getattr(datasets, split) for split in evaluations}
        frames, hashes, notes = dict(datasets.frames), dict(datasets.hashes), list(datasets.warnings)
        # The resolved configuration gives them as numbers; the model file knows where those came from.
        origin = (document.get("metadata") or {}).get("atomic_energies_origin") or datasets.atomic_energies.origin
        tables = [
            data_table(datasets),
            atomic_energies_table(replace(datasets.atomic_energies, origin=origin), elements_in(datasets)),
        ]
        leaks = [leak.to_dict() for leak in datasets.leaks]
        if _json(run.splits_path).get("file_sha256", hashes) != hashes:
            notes.append("The data files are no longer those the model was trained on (their SHA-256 differ).")
    comparisons = compare_properties(potential, config, stop)
    if extra is not None:
        graphs[DATA], evaluations[DATA] = extra.evaluate(potential)
        frames[DATA], metrics[DATA] = extra.file.frames, evaluations[DATA].metrics
        hashes[extra.path.name] = file_sha256(extra.path)
    checked = check_after_training(
        console,
        potential,
        [frame for part in frames.values() for frame in part],
        form or config.physics_check,
        name=config.name,
        stop=stop,
    )
    facts = {key: value for key, value in stored.items() if key not in SPLITS}
    summary = {**_facts_of(document), **facts, "leaks": leaks}
    if not stored:
        notes.append("The run is not finished: the model is the best so far.")
    with console.progress("Report") as progress:
        return make_record(
            console,
            progress=progress,
            model_path=run.model_path,
            potential=potential,
            graphs=graphs,
            frames=frames,
            evaluations=evaluations,
            private=[*private_folders(config, run.path), *([extra.path.resolve().parent] if extra else [])],
            hashes=hashes,
            name=config.name,
            model=describe_model(potential),
            summary=summary,
            metrics=metrics,
            rows=run.read_metrics(),
            tables=tables,
            comparisons=comparisons,
            config=to_yaml(shareable(config)),
            notes=notes,
            check=checked,
            document=document,
            sections=_finetuning(run.path),
        )


def _of_model(
    console: Console, path: Path, extra: _Frames | None, form: str | None, head: str | None, stop: StopRequest
) -> RunRecord:
    potential, document = _load(path, head)
    metadata = document.get("metadata") or {}
    metrics = {
        split: groups
        for split, groups in (metadata.get("metrics") or {}).items()
        if isinstance(groups, Mapping) and isinstance(groups.get("all"), Mapping)
    }
    graphs, frames, evaluations = {}, {}, {}
    hashes = dict((metadata.get("training_data") or {}).get("sha256") or {})
    notes: list[str] = []
    if extra is not None:
        graphs[DATA], evaluations[DATA] = extra.evaluate(potential)
        frames[DATA], metrics[DATA] = extra.file.frames, evaluations[DATA].metrics
        hashes[extra.path.name] = file_sha256(extra.path)
        notes += extra.file.report.warnings
    name = str(metadata.get("name") or path.stem)
    checked = check_after_training(console, potential, frames.get(DATA, ()), form or "short", name=name, stop=stop)
    config = metadata.get("config")
    with console.progress("Report") as progress:
        return make_record(
            console,
            progress=progress,
            model_path=path,
            potential=potential,
            graphs=graphs,
            frames=frames,
            evaluations=evaluations,
            private=[path.resolve().parent, *([extra.path.resolve().parent] if extra else [])],
            hashes=hashes,
            name=name,
            model=describe_model(potential),
            summary=_facts_of(document),
            metrics=metrics,
            rows=[],
            config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if isinstance(config, Mapping) else "",
            notes=notes,
            check=checked,
            document=document,
            subtitle="Report of an equipot model",
        )


def _load(path: Path, head: str | None) -> tuple[Potential, dict[str, Any]]:
    """A model's potential and what the file says about it."""
    potential, document = load_model(path, head=head), read_model_document(path)
    return potential, {**document, "metadata": potential.metadata or document.get("metadata")}


def _finetuning(folder: Path) -> list[Section]:
    """What a fine-tuning changed, where the run was one: its tables (plots are in its folder)."""
    document = _json(folder / FINETUNE_FILE)
    return [Section("Before and after fine-tuning", finetune_tables(document))] if document else []


def _facts_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What ``summary.json`` would say, as far as a model file knows it."""
    training = (document.get("metadata") or {}).get("training") or {}
    return build_summary(
        {},
        num_parameters=document["num_parameters"],
        train_seconds=training.get("seconds"),
        epochs=training.get("epochs"),
        best_epoch=training.get("epoch"),
        elements=document["elements"],
        cutoff=document["cutoff"],
        versions=document.get("created_with") or library_versions(),
    )


def _json(path: Path) -> dict[str, Any]:
    """A JSON object in a file, empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
