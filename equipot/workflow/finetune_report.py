"""The end of a fine-tuning: compare with the base, write the numbers and plots into the run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipot.checkpoint import RunDirectory, load_model
from equipot.config import Config
from equipot.data.datasets import DataSets
from equipot.data.frames import LABELS, Frame
from equipot.data.isolated import without_isolated
from equipot.data.paths import resolve_file
from equipot.data.reading import read_frames
from equipot.errors import DataError
from equipot.models import Potential
from equipot.report.figures import save_figure
from equipot.report.files import write_text
from equipot.report.finetune_plots import finetune_pictures, finetune_section, finetune_tables
from equipot.report.html import Section
from equipot.report.summary import to_json
from equipot.report.tables import Table
from equipot.workflow.evaluation import find_model
from equipot.workflow.finetune_comparison import (
    BASE,
    SCRATCH,
    TUNED,
    ZERO_SHOT,
    Comparison,
    Settings,
    compare_finetuned,
)

if TYPE_CHECKING:
    from equipot.system.signals import StopRequest

#: In the run folder.
FILE = "finetune.json"


@dataclass(frozen=True)
class FinetuneReport:
    """What a fine-tuning changed.

    Attributes:
        document: as in ``finetune.json``: ``errors``, ``force_slopes``, ``forgetting``, ``dimers``, ``cost``.
        tables: to be printed.
        section: of ``report.html``.
    """

    document: dict[str, Any]
    tables: list[Table]
    section: Section


@dataclass(frozen=True)
class Given:
    """What ``finetune.report`` names, read.

    Attributes:
        known: name -> labelled frames of what the base is good at.
        scratch: trained from scratch on the frames of the fine-tuning.
    """

    known: dict[str, list[Frame]]
    scratch: Potential | None


def write_finetune_report(
    run: RunDirectory,
    tuned: Potential,
    datasets: DataSets,
    config: Config,
    given: Given,
    cost: dict[str, Any],
    stop: StopRequest | None = None,
) -> FinetuneReport:
    """Compare a fine-tuned potential with its base, and write ``finetune.json`` and its plots.

    Args:
        run: its folder, with ``base.eqp`` and ``zero_shot.eqp``.
        tuned: in evaluation mode, on the CPU.
        datasets: of the run; the comparison is made on the test frames, else on those of validation or training.
        config: of the run; ``finetune.report`` says how much is compared.
        given: see :func:`read_given`.
        cost: ``steps``, ``train_seconds``, ``num_trained``, ``num_frames`` of the fine-tuning.
        stop: asked between the parts.

    Raises:
        Interrupted: asked to stop.
    """
    models = {BASE: load_model(run.base_path), ZERO_SHOT: load_model(run.zero_shot_path), TUNED: tuned}
    costs = {TUNED: cost}
    if given.scratch is not None:
        models[SCRATCH] = given.scratch
        costs[SCRATCH] = _history(models[SCRATCH])
    split = next(name for name in ("test", "validation", "train") if datasets.frames.get(name))
    comparison = compare_finetuned(
        models,
        datasets.frames[split],
        split,
        Settings(config.finetune.report.prototypes, given.known, config.training.evaluation_batch_edges, stop),
        costs,
    )
    return save_comparison(comparison, run.path)


def save_comparison(comparison: Comparison, folder: Path) -> FinetuneReport:
    """Write ``finetune.json`` and ``plots/finetune_*.png`` into a folder, which is made if it is not there."""
    document = comparison.document
    tables = finetune_tables(document)
    pictures = finetune_pictures(document, comparison.points, comparison.domain_points, comparison.dimers)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, to_json(document))
    for name, picture in pictures.items():
        save_figure(picture.figure, folder / "plots" / f"{name}.png")
    return FinetuneReport(
        document, finetune_tables(document, groups=False), finetune_section(document, pictures, tables)
    )


def read_given(config: Config, directory: Path) -> Given:
    """Read the files that ``finetune.report`` names: frames as those of ``data`` are, and a potential.

    Raises:
        DataError, StructureError, UsageError, CheckpointError: one of them is not there or cannot be used.
    """
    wanted = config.finetune.report
    known = {name: _known(name, resolve_file(name, config.data, directory), config) for name in wanted.known}
    if wanted.scratch is None:
        return Given(known, None)
    path = Path(wanted.scratch).expanduser()
    return Given(known, load_model(find_model(directory / path if (directory / path).exists() else path)))


def _known(name: str, path: Path, config: Config) -> list[Frame]:
    data = config.data
    read = read_frames(path, keys=data.keys, units=data.units, on_bad=data.on_bad).frames
    frames = [frame.counting() for frame in without_isolated(read)]
    if not any(frame.has(label) for frame in frames for label in LABELS):
        raise DataError(
            f"finetune.report.known: {name} has no energies, forces or stresses, so that there is nothing "
            "to compare with; its keys are looked for as data.keys says."
        )
    return frames


def _history(potential: Potential) -> dict[str, Any]:
    """What the metadata of a model file tell of its training."""
    training = potential.metadata.get("training") or {}
    frames = (potential.metadata.get("training_data") or {}).get("num_frames") or {}
    return {
        "steps": training.get("steps"),
        "train_seconds": training.get("seconds"),
        "num_trained": potential.num_parameters(),
        "num_frames": frames.get("train"),
    }
