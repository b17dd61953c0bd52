"""A finished potential on frames from a file: errors against labels, and predictions written beside the structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from equipot.checkpoint import load_model
from equipot.config import KeysConfig, UnitsConfig
from equipot.data.datasets import frame_to_graph
from equipot.data.formats import format_of
from equipot.data.frames import LABELS, Frame, FrameFile
from equipot.data.isolated import is_isolated_atom, without_isolated
from equipot.data.label_keys import FREE_ENERGY, describe_available
from equipot.data.reading import read_frames
from equipot.data.structures import read_structure
from equipot.data.writing import write_frames
from equipot.errors import DataError, ElementError, UsageError
from equipot.models import Potential
from equipot.report.files import refuse_existing
from equipot.report.summary import build_summary
from equipot.report.tables import Metrics
from equipot.training import Prediction, resolve_device
from equipot.training import evaluate as evaluate_graphs

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph

_AUTO, _DEFAULT_UNITS = KeysConfig(), UnitsConfig()
_NO_LABELS = KeysConfig(energy=None, forces=None, stress=None, virial=None)


@dataclass(frozen=True)
class EvaluationResult:
    """Errors of a potential on labelled frames.

    Attributes:
        metrics: ``all`` or a config_type -> errors.
        summary: the same with the facts of the potential, as ``equipot eval --json`` writes it.
        frames: the frames, in the order of the file.
        predictions: energy (eV), forces (eV/Angstrom), stress (eV/Angstrom^3) of each.
        warnings: sentences on the data a reader should see.
    """

    metrics: Metrics
    summary: dict[str, Any]
    frames: list[Frame] = field(repr=False)
    predictions: list[Prediction] = field(repr=False)
    warnings: list[str] = field(default_factory=list)


def find_model(path: str | Path) -> Path:
    """The model file of a path, which may be a run folder.

    Raises:
        UsageError: there is nothing, or a folder without a model.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if not (path / "model.eqp").is_file():
            raise UsageError(
                f"{path} is a folder without a model.eqp: give a model file or the folder of a run that "
                "has been trained."
            )
        return path / "model.eqp"
    if not path.exists():
        raise UsageError(f"There is no model {path}: give a model file (.eqp) or a run folder.")
    return path


def choose_model(path: str | Path, head: str | None) -> Path | Potential:
    """The model file of a path, or one of its heads as a potential."""
    return find_model(path) if head is None else load_model(find_model(path), head=head)


def _load(
    model: str | Path | Potential, device: str, dtype: str | None, head: str | None
) -> tuple[Potential, torch.device]:
    where = resolve_device(device)
    if isinstance(model, Potential):
        if dtype is not None or head is not None:
            raise UsageError("dtype and head are chosen when a model file is loaded; this potential is loaded already.")
        return model.to(where), where
    return load_model(find_model(model), device=str(where), dtype=dtype, head=head), where


def graphs_of(frames: Sequence[Frame], potential: Potential) -> list[AtomicGraph]:
    """The graphs of frames as a potential sees them; raises ElementError for an element it does not know."""
    known = set(potential.elements)
    for frame in frames:
        unknown = sorted(set(frame.atoms.get_chemical_symbols()) - known)
        if unknown:
            raise ElementError(
                f"{frame.source} contains {', '.join(unknown)}, which this potential does not know; it "
                f"was trained on {', '.join(potential.elements)}."
            )
    return [frame_to_graph(frame, potential.cutoff, frame_id=number) for number, frame in enumerate(frames)]


def _check_output(output: str | Path | None, overwrite: bool) -> None:
    if output is None:
        return
    refuse_existing(output, overwrite=overwrite)
    if not Path(output).name.lower().removesuffix(".gz").removesuffix(".xz").endswith((".xyz", ".extxyz")):
        raise UsageError(
            f"{output}: frames are written as extended XYZ; the name must end in .xyz or .extxyz (.gz or "
            ".xz may follow)."
        )


def evaluate(
    model: str | Path | Potential,
    data: str | Path,
    *,
    keys: KeysConfig = _AUTO,
    units: UnitsConfig = _DEFAULT_UNITS,
    on_bad: str = "error",
    device: str = "auto",
    dtype: str | None = None,
    head: str | None = None,
    batch_edges: int = 50_000,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> EvaluationResult:
    """Compare a potential with labelled frames, by the code that makes the tables of a training run.

    Args:
        model: a model file, a run folder, or a potential.
        data: a file of frames.
        keys, units: names and units of the labels in it.
        on_bad: ``error`` or ``skip``: what to do with frames that are not finite.
        device: ``auto``, ``cpu`` or ``cuda``.
        dtype: ``float32`` or ``float64``; default: the model's own.
        head: which level of theory, where the model file holds several.
        batch_edges: edges in a batch; bounds the memory.
        output: extended XYZ file to write with ``EQUIPOT_energy`` (eV), ``EQUIPOT_forces`` (eV/Angstrom) and
            ``EQUIPOT_stress`` (eV/Angstrom^3) beside ``REF_energy`` and so on.
        overwrite: whether ``output`` may replace a file.

    Raises:
        DataError: a frame or label that cannot be used, or no label at all.
        ElementError: an element the potential does not know.
        UsageError: no such model, or the output exists.
    """
    _check_output(output, overwrite)
    potential, where = _load(model, device, dtype, head)
    file = read_frames(data, keys=keys, units=units, on_bad=on_bad)
    swapped = take_energies_of_training(file, potential.metadata, keys)
    if not any(frame.counting().has(label) for frame in file.frames for label in LABELS):
        raise DataError(
            f"{data}: there is no label to compare with. {describe_available(file.report.available)}. Say "
            "which they are with --keys energy=NAME forces=NAME (in Python: keys=KeysConfig(...))."
        )
    counted = without_isolated(file.frames)
    result = evaluate_graphs(
        potential, graphs_of(counted, potential), batch_edges=batch_edges, device=where, collect=True
    )
    predictions, warnings = result.predictions, [*file.report.warnings, *swapped]
    if len(counted) < len(file.frames):
        predictions, said = _with_isolated(potential, file.frames, predictions, where)
        warnings.append(said)
    summary = build_summary(
        {"data": result.metrics},
        num_parameters=potential.num_parameters(),
        **_history(potential),
        elements=potential.elements,
        cutoff=potential.cutoff,
        model=None if isinstance(model, Potential) else str(model),
        file=str(data),
        coverage={label: list(file.report.coverage[label]) for label in LABELS},
        keys=file.report.keys,
        skipped=[bad.index for bad in file.report.skipped],
        warnings=warnings,
    )
    if output is not None:
        write_predictions(output, file.frames, predictions)
    return EvaluationResult(result.metrics, summary, file.frames, predictions, warnings)


def trained_on_free_energies(metadata: Mapping[str, Any]) -> bool:
    """Whether a potential was trained on the free energies of files that have energies too."""
    key = (metadata.get("training_data") or {}).get("energy_key")
    return key is not None and key.removesuffix(" (calculator)") == FREE_ENERGY


def take_energies_of_training(file: FrameFile, metadata: Mapping[str, Any], keys: KeysConfig) -> list[str]:
    """Compare with the energies a potential was trained on, where a file has others beside them; what to say of it."""
    if keys.energy != "auto" or not trained_on_free_energies(metadata) or file.report.other_energy_key is None:
        return []
    file.swap_energy()
    return [f"the energies are read from '{file.report.keys['energy']}', as those the potential was trained on"]


def _with_isolated(
    potential: Potential, frames: Sequence[Frame], predictions: Sequence[Prediction], where: torch.device
) -> tuple[list[Prediction], str]:
    """Predictions of all frames, isolated atoms among them, and a sentence on how far these are from their labels."""
    lone = [frame for frame in frames if is_isolated_atom(frame)]
    alone = evaluate_graphs(potential, graphs_of(lone, potential), device=where, collect=True).predictions
    apart = [
        f"{frame.atoms.get_chemical_symbols()[0]} {prediction.energy - frame.energy:+.4f} eV"
        for frame, prediction in zip(lone, alone)
        if frame.counting().has("energy")
    ]
    shown = f" ({', '.join(apart[:8])})" if apart else ""
    bound, single = iter(predictions), iter(alone)
    return (
        [next(single) if is_isolated_atom(frame) else next(bound) for frame in frames],
        f"{len(lone)} isolated-atom frames are not counted as errors: they would only measure the atomic energies, "
        f"from which the labels differ{shown}",
    )


def predict(
    model: str | Path | Potential,
    structures: str | Path,
    *,
    output: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    head: str | None = None,
    batch_edges: int = 50_000,
    overwrite: bool = False,
) -> list[Frame]:
    """Predict energies, forces and stresses of the structures in a file; labels in it are not needed.

    Args:
        model: a model file, a run folder, or a potential.
        structures: a file of structures.
        output: extended XYZ file to write.
        device, dtype, head, batch_edges, overwrite: as for :func:`evaluate`.

    Returns:
        The frames, with ``EQUIPOT_energy`` (eV) and ``EQUIPOT_stress`` (eV/Angstrom^3, (3, 3), where the cell has a
        volume) in ``info`` and ``EQUIPOT_forces`` (eV/Angstrom) in the arrays of ``atoms``.

    Raises:
        DataError, ElementError, UsageError: as for :func:`evaluate`.
    """
    _check_output(output, overwrite)
    potential, where = _load(model, device, dtype, head)
    frames = read_structures(structures)
    unlabelled = [Frame(frame.atoms, source=frame.source, index=frame.index) for frame in frames]
    result = evaluate_graphs(
        potential, graphs_of(unlabelled, potential), batch_edges=batch_edges, device=where, collect=True
    )
    frames = attach(frames, result.predictions)
    if output is not None:
        write_frames(output, frames)
    return frames


def read_structures(path: str | Path) -> list[Frame]:
    """Read structures whose labels are a bonus: frames as for training, else one structure (POSCAR, CIF, ...)."""
    try:
        format_of(path)
    except DataError:
        return [Frame(read_structure(path), source=Path(path).name)]
    try:
        return read_frames(path).frames
    except DataError:
        # Labels that cannot be used (two that disagree, NaN) do not matter here; a bad structure is said again.
        return read_frames(path, keys=_NO_LABELS).frames


def attach(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> list[Frame]:
    """Copies of frames that carry their predictions under ``EQUIPOT_`` names; the labels stay as they are."""
    result = []
    for frame, prediction in zip(frames, predictions, strict=True):
        atoms = frame.atoms.copy()
        atoms.arrays["EQUIPOT_forces"] = np.array(prediction.forces, dtype=float)
        info = {key: value for key, value in frame.info.items() if key != "EQUIPOT_stress"}
        info["EQUIPOT_energy"] = float(prediction.energy)
        if np.isfinite(prediction.stress).all():
            info["EQUIPOT_stress"] = np.array(prediction.stress, dtype=float)
        result.append(replace(frame, atoms=atoms, info=info))
    return result


def write_predictions(path: str | Path, frames: Sequence[Frame], predictions: Sequence[Prediction]) -> None:
    """Write frames with labels (``REF_``) and predictions (``EQUIPOT_``) as extended XYZ, whole or not at all."""
    write_frames(path, attach(frames, predictions))


def _history(potential: Potential) -> dict[str, Any]:
    """What the model file remembers of its training."""
    training = potential.metadata.get("training") or {}
    return {
        "train_seconds": training.get("seconds"),
        "epochs": training.get("epochs"),
        "best_epoch": training.get("epoch"),
    }
