"""From a file to frames with labels: keys chosen, units and signs applied, bad frames refused or left out by count."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from equipot.config.schema import KeysConfig, UnitsConfig
from equipot.data.convergence import electronic_fault, unclear_flag
from equipot.data.frames import LABELS, BadFrame, Frame, FrameFile, RawFrame, ReadReport
from equipot.data.label_keys import (
    ChosenKeys,
    LabelKey,
    choose_keys,
    is_reference,
    missing_keys,
    refuse_missing_keys,
)
from equipot.data.labels import (
    BadLabel,
    is_periodic_3d,
    read_config_type,
    read_energy,
    read_forces,
    read_stress,
    read_weights,
)
from equipot.data.occupancy import refuse_partial
from equipot.data.readers import read_raw_file
from equipot.data.stress_sign import SignProof, prove_sign
from equipot.elements import MAX_ATOMIC_NUMBER
from equipot.errors import DataError, StructureError
from equipot.graph import check_structure
from equipot.units import GPA_PER_EV_A3

#: Formats whose reader has already brought the labels to eV, Angstrom and tension positive.
_OWN_UNITS = {"vasprun", "outcar"}
#: A stress above this (eV/Angstrom^3, 160 GPa) needs a compressed cell to be believed.
_LARGE_STRESS = 1.0
_AUTO_KEYS, _DEFAULT_UNITS = KeysConfig(), UnitsConfig()
_READERS = {"energy": read_energy, "forces": read_forces, "stress": read_stress}


def read_frames(
    path: str | Path,
    *,
    keys: KeysConfig = _AUTO_KEYS,
    units: UnitsConfig = _DEFAULT_UNITS,
    on_bad: str = "error",
    demand_keys: bool = True,
) -> FrameFile:
    """Read all frames of a file with their labels.

    Args:
        path: A file of one of the formats in ``formats.ACCEPTED``.
        keys: Where the labels are; ``auto`` searches the documented list.
        units: Units and stress sign of the labels in the file (VASP's own files bring theirs).
        on_bad: What to do with a frame whose label or geometry is not usable: ``error`` stops, ``skip`` leaves the
            frame out and lists it in the report. A file whose layout is broken always stops.
        demand_keys: Whether every key that ``keys`` names has to be in the file. Of several files read as one set each
            may lack some (isolated atoms have no forces): say False and call ``refuse_missing_keys`` for all of them.

    Returns:
        The frames, in the file's order, and the report of keys, coverage, frames left out and warnings.

    Raises:
        DataError: Names file, frame, line and key, and what to do.
    """
    frame_file = read_declared(path, keys=keys, units=units, on_bad=on_bad)
    if demand_keys:
        refuse_missing_keys({Path(path).name: frame_file.report.available}, keys)
    report = frame_file.report
    if report.keys["stress"] is None or units.stress_sign != "proven" or report.format in _OWN_UNITS:
        return frame_file
    proof = report.stress_sign
    if proof.sign == 0:
        raise DataError(
            f"{path}: {proof.sentence()}. Declare data.units.stress_sign as tension_positive or compression_positive."
        )
    if proof.sign < 0:
        flip_stress(frame_file.frames)
    return frame_file


def flip_stress(frames: list[Frame]) -> None:
    """Change the sign of every stress, in place."""
    for frame in frames:
        if frame.stress is not None:
            frame.stress = -frame.stress


def read_declared(path: str | Path, *, keys: KeysConfig, units: UnitsConfig, on_bad: str) -> FrameFile:
    """Like :func:`read_frames`, but a sign that is to be proven is left as in the file, and keys may be absent."""
    raw_file = read_raw_file(path)
    file_format, raw_frames = raw_file.format, raw_file.frames
    name = Path(path).name
    chosen = choose_keys(raw_frames, keys)
    report = ReadReport(
        str(path), file_format, len(raw_frames), available=chosen.available, warnings=list(raw_file.notes)
    )
    report.keys = {label: None if key is None else key.key for label, key in chosen.chosen.items()}
    report.warnings += [
        f"the key '{wanted}' asked for as {quantity} is in no frame; they count as without it"
        for quantity, wanted in missing_keys(keys, chosen.available).items()
        if quantity == "energy" or any(len(raw.atoms) > 1 for raw in raw_frames)  # an isolated atom has no forces
    ]
    if file_format in _OWN_UNITS:
        if units != _DEFAULT_UNITS:
            report.warnings.append("declared units and stress sign are not applied: VASP's files bring their own")
        units = _DEFAULT_UNITS
    unclear = [raw.index for raw in raw_frames if unclear_flag(raw.info)]
    if unclear:
        report.warnings.append(
            f"{len(unclear)} frames say converged=F (first: frame {unclear[0]}); they are used. If that is said of the "
            f"electronic structure and not of a relaxation, call the key scf_converged"
        )
    frames = []
    for raw in raw_frames:
        report.warnings += [raw.note] if raw.note else []
        where = f"{name}, frame {raw.index}" + (f" (line {raw.line})" if raw.line else "")
        try:
            frames.append(_read_frame(raw, name, where, chosen, units))
        except (BadLabel, StructureError) as error:
            reason = str(error).removeprefix(f"{where}: ")
            if on_bad != "skip":
                kind = StructureError if isinstance(error, StructureError) else DataError
                raise kind(
                    f"{where}: {reason.rstrip('.')}. Correct the file, or leave such frames out with data.on_bad=skip."
                ) from error
            report.skipped.append(BadFrame(raw.index, where, reason))
    if not frames:
        first = report.skipped[0]
        raise DataError(f"{path}: every one of the {len(raw_frames)} frames is unusable; the first: {first.reason}.")
    report.coverage = {label: (sum(frame.has(label) for frame in frames), len(frames)) for label in LABELS}
    left_out = {bad.index for bad in report.skipped}
    _compare_candidates([raw for raw in raw_frames if raw.index not in left_out], chosen, units, name, report)
    _judge_stress(frames, raw_frames, chosen, units, report)
    return FrameFile(frames, report)


def _read_frame(raw: RawFrame, name: str, where: str, chosen: ChosenKeys, units: UnitsConfig) -> Frame:
    fault = raw.fault or electronic_fault(raw.info)
    if fault is not None and any(chosen.chosen.values()):
        raise BadLabel(fault)
    atoms = raw.atoms
    refuse_partial(atoms, where, raw.info)
    check_structure(atoms.positions, atoms.cell.array, atoms.pbc, where=where)
    unknown = (atoms.numbers < 1) | (atoms.numbers > MAX_ATOMIC_NUMBER)
    if unknown.any():
        atom = int(np.flatnonzero(unknown)[0])
        raise BadLabel(f"atom {atom} has no element (atomic number {atoms.numbers[atom]})")
    values = {label: read(raw, chosen.chosen[label], units) for label, read in _READERS.items()}
    weights = {f"{label}_weight": weight for label, weight in read_weights(raw).items()}
    return Frame(
        atoms,
        **values,
        **weights,
        config_type=read_config_type(raw),
        source=f"{name} frame {raw.index}",
        index=raw.index,
        info=raw.info,
    )


def _compare_candidates(
    raws: list[RawFrame], chosen: ChosenKeys, units: UnitsConfig, name: str, report: ReadReport
) -> None:
    """Look at the keys that were not used: do they say something else, do they hold labels the used one lacks?"""
    for label, used in chosen.chosen.items():
        for other in chosen.others[label]:
            both = only_other = different = 0
            largest, first = 0.0, None
            for raw in raws:
                values = []
                for key in (used, other):
                    try:
                        values.append(_READERS[label](raw, key, units))
                    except BadLabel:
                        values.append(None)
                there = [value is not None and bool(np.isfinite(value).all()) for value in values]
                only_other += there[1] and not there[0]
                if not all(there):
                    continue
                both += 1
                difference = float(np.abs(np.asarray(values[0]) - np.asarray(values[1])).max())
                if difference > 1e-4 + 1e-6 * float(np.abs(values[0]).max()) and other.key != "free_energy":
                    different += 1
                    first = raw.index if first is None else first
                    largest = max(largest, difference)
            if different:
                text = (
                    f"{label} is read from '{used.key}', but '{other.key}' says something else in {different} of "
                    f"{both} frames (by up to {largest:.3g}, first in frame {first})"
                )
                if not is_reference(used.key) or is_reference(other.key):
                    raise DataError(f"{name}: {text}. Say which one is meant with data.keys.{used.quantity}=NAME.")
                report.warnings.append(text)
            if only_other:
                report.warnings.append(
                    f"{only_other} frames have '{other.key}' but not '{used.key}', which {label} is "
                    f"read from; they count as without {label}"
                )


def _judge_stress(
    frames: list[Frame], raws: list[RawFrame], chosen: ChosenKeys, units: UnitsConfig, report: ReadReport
) -> None:
    label = chosen.chosen["stress"]
    if label is None:
        return
    without_volume = sum(raw.info.get(label.key) is not None and not is_periodic_3d(raw) for raw in raws)
    if without_volume:
        report.warnings.append(
            f"{without_volume} frames have a stress but no volume (not periodic in three "
            f"directions); their stress is not used"
        )
    proof = report.stress_sign = prove_sign(frames)
    report.warnings += stress_warnings(proof, label, units.stress_sign)
    suspicious = implausible_stress(frames)
    if suspicious:
        worst = max(suspicious, key=lambda frame: np.abs(frame.stress).max())
        report.warnings.append(
            f"{len(suspicious)} frames have a stress above {_LARGE_STRESS:g} eV/A^3 without being compressed (up to "
            f"{np.abs(worst.stress).max() * GPA_PER_EV_A3:.4g} GPa in frame {worst.index}): is it in GPa, or the sign "
            f"wrong? See data.units.stress and data.units.stress_sign"
        )


def stress_warnings(proof: SignProof, label: LabelKey, declared: str) -> list[str]:
    """What a proof says against the declared sign and unit."""
    warnings = []
    if declared != "proven" and proof.sign < 0:
        opposite = "compression_positive" if declared == "tension_positive" else "tension_positive"
        fix = f"data.units.stress_sign={opposite}" if label.quantity == "stress" else "data.units.stress_sign=proven"
        warnings.append(
            f"the energies contradict the declared sign of '{label.key}' ({declared}): dE / stress work is "
            f"{proof.ratio:.3g} over {proof.num_pairs} pairs of frames; set {fix}"
        )
    if proof.unit_factor is not None:
        unit = f"; it looks like {proof.likely_unit}" if proof.likely_unit else ""
        warnings.append(
            f"the energies contradict the unit of '{label.key}': stress times {proof.unit_factor:.3g} "
            f"would fit them ({proof.num_pairs} pairs of frames){unit}; see data.units.stress"
        )
    return warnings


def implausible_stress(frames: list[Frame]) -> list[Frame]:
    """Frames with a very large stress whose cell is not compressed against the lowest-energy frame of its kind."""
    by_formula: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.stress is not None:
            by_formula[frame.atoms.symbols.formula.reduce()[0].format("metal")].append(frame)
    found = []
    for members in by_formula.values():
        lowest = min(members, key=lambda frame: frame.energy / len(frame.atoms) if frame.has("energy") else np.inf)
        relaxed = lowest.volume / len(lowest.atoms)
        found += [
            frame
            for frame in members
            if np.abs(frame.stress).max() > _LARGE_STRESS and frame.volume / len(frame.atoms) > 0.9 * relaxed
        ]
    return found
