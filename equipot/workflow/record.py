"""From what a run or a model has to what its report shows: one record, put together in one place."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from equipot.checks.data import check_frames
from equipot.data.frames import LABELS, Frame, FrameFile, ReadReport
from equipot.data.paths import file_sha256
from equipot.models import Potential
from equipot.report.outliers import find_outliers
from equipot.report.points import parity_points
from equipot.report.run_report import RunRecord
from equipot.report.speed import speed_table
from equipot.report.tables import Table
from equipot.workflow.benchmark import benchmark
from equipot.workflow.console import Console, Progress

if TYPE_CHECKING:
    from equipot.config import Config
    from equipot.graph import AtomicGraph
    from equipot.training import Evaluation

logger = logging.getLogger("equipot.workflow")

#: Atoms of the cells whose steps are timed, and about how long each is (s).
_SIZES, _SECONDS = (50, 250), 0.2
#: What the doctor says of files and reading is known by then.
_SAID_BEFORE = ("reading",)


def make_record(
    console: Console,
    *,
    model_path: Path,
    potential: Potential,
    graphs: Mapping[str, Sequence[AtomicGraph]],
    frames: Mapping[str, Sequence[Frame]],
    evaluations: Mapping[str, Evaluation],
    private: Sequence[str | Path],
    hashes: Mapping[str, str],
    progress: Progress = lambda what, done, total: None,
    **more: Any,
) -> RunRecord:
    """Put together what a report shows, and measure what is not known yet (outliers, data findings, speed).

    Args:
        console: gets a warning where a part could not be made; the report then does without it.
        model_path: of the model file.
        potential: of the report, on the CPU.
        graphs, frames, evaluations: split -> labelled graphs, the frames behind them, and their evaluation with
            predictions.
        private: folders of this machine that shall not be named on the page.
        hashes: data file -> SHA-256.
        progress: called with (what, done, total).
        more: other fields of :class:`RunRecord`.
    """
    energies = dict(zip(potential.elements, potential.atomic_energies.tolist()))
    predictions = {split: evaluation.predictions for split, evaluation in evaluations.items()}
    progress("collecting errors", 0, 0)
    points = {split: parity_points(graphs[split], predictions[split], energies) for split in predictions}
    outliers = find_outliers({split: graphs[split] for split in predictions}, predictions)
    own = {model_path.name: file_sha256(model_path)}
    findings = data_findings(console, frames, potential.cutoff, progress)
    progress("timing steps", 0, 0)
    return RunRecord(
        points=points,
        frames=frames,
        atomic_energies=energies,
        outliers=outliers,
        hashes={**own, **hashes},
        findings=findings,
        speed=speed(console, potential),
        private=[str(folder) for folder in (*private, Path.cwd(), Path.home())],
        **more,
    )


def data_findings(
    console: Console, frames: Mapping[str, Sequence[Frame]], cutoff: float, progress: Progress
) -> list[tuple[str, str]]:
    """What the data doctor says of the training frames (or of the only frames there are), held against the test frames.

    Returns:
        (status, sentence) of what is wrong or doubtful; where nothing is, one sentence that says so.
    """
    train = list(frames.get("train") or next((part for part in frames.values() if part), ()))
    if not train:
        return []
    test = frames.get("test") if frames.get("train") else None
    try:
        report = check_frames(
            _as_file("training frames", train),
            cutoff=cutoff,
            against=[_as_file("test frames", test)] if test else [],
            progress=lambda what, done, total: progress(f"checking the data: {what}", done, total),
        )
    except Exception as error:  # the report goes on without
        logger.debug("the data doctor raised", exc_info=True)
        console.warning(f"the data doctor could not look at the frames ({type(error).__name__}: {error})")
        return []
    said = [
        (finding.status, f"{result.code}: {finding.message}.")
        for result in report.results
        for finding in result.findings
        if finding.status in ("fail", "warn") and result.code not in _SAID_BEFORE
    ]
    num_passed = report.counts["pass"] + report.counts["note"]
    return sorted(said) or [("pass", f"Nothing is wrong or doubtful: {num_passed} checks passed.")]


def _as_file(name: str, frames: Sequence[Frame]) -> FrameFile:
    coverage = {label: (sum(frame.has(label) for frame in frames), len(frames)) for label in LABELS}
    return FrameFile(
        list(frames), ReadReport(name, "as read", len(frames), keys=dict.fromkeys(LABELS, "read"), coverage=coverage)
    )


def speed(console: Console, potential: Potential) -> Table | None:
    """Time a few steps of dynamics with this potential on this machine."""
    try:
        return speed_table(
            benchmark(copy.deepcopy(potential), sizes=_SIZES, threads=[torch.get_num_threads()], seconds=_SECONDS)
        )
    except Exception as error:  # the report goes on without
        logger.debug("the speed measurement raised", exc_info=True)
        console.warning(f"the speed could not be measured ({type(error).__name__}: {error})")
        return None


def private_folders(config: Config, run_path: Path | None = None) -> list[str]:
    """Folders a configuration names that only mean something on this machine."""
    data = config.data
    files = [Path(name).expanduser() for name in (*data.train, *data.validation, *data.test)]
    found = [str(file.parent) for file in files if file.is_absolute()]
    if config.finetune is not None and Path(config.finetune.base).is_absolute():
        found.append(str(Path(config.finetune.base).parent))
    found += [data.root] if data.root is not None and Path(data.root).is_absolute() else []
    return found + ([str(run_path.resolve()), str(run_path.resolve().parent)] if run_path is not None else [])
