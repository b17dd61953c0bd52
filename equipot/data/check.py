"""The data doctor: what is suspicious about the frames of a file, with codes, severity and the frames by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols, covalent_radii

from equipot.data.atomic_energies import AtomicEnergies, fit_atomic_energies
from equipot.data.frames import LABELS, Frame, FrameFile, ReadReport
from equipot.data.geometry_hash import find_duplicates, hash_frames
from equipot.data.isolated import is_isolated_atom
from equipot.data.stress_sign import SignProof
from equipot.errors import StructureError
from equipot.graph import neighbor_list

#: Forces above this (eV/Angstrom) ...
LARGE_FORCE = 100.0
#: ... energies this far off the composition fit (eV/atom) ...
LARGE_ENERGY = 10.0
#: ... net forces above this, per atom (eV/Angstrom) ...
NET_FORCE = 2e-3
#: ... and atoms closer than this fraction of their covalent radii's sum are listed.
OVERLAP = 0.6
_NEIGHBOR_CUTOFF, _MAX_PAIRS = 3.5, 5_000_000
#: Entries of a table that are printed (JSON has all).
_MAX_SHOWN = 20
_SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing found: a stable code, how bad it is, a sentence, and the frames it is about."""

    code: str
    severity: str
    message: str
    frames: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding for JSON."""
        return {"code": self.code, "severity": self.severity, "message": self.message, "frames": list(self.frames)}


@dataclass
class DataReport:
    """Everything found in a file, worst first."""

    read: ReadReport
    findings: list[Finding] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def worst(self) -> str:
        """``error``, ``warning`` or ``info``."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in _SEVERITIES if severity in found), "info")

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {"file": self.read.to_dict(), "summary": self.summary, "worst": self.worst,
                "findings": [finding.to_dict() for finding in self.findings]}

    def lines(self) -> list[str]:
        """Printable lines."""
        plain = ReadReport(**{**vars(self.read), "warnings": []})  # the warnings come again among the findings
        lines = plain.lines()
        for name, value in self.summary.items():
            if isinstance(value, dict):
                shown = [f"{key} {_plain(number)}" for key, number in list(value.items())[:_MAX_SHOWN]]
                rest = f", ... ({len(value)} in all)" if len(value) > _MAX_SHOWN else ""
                value = ", ".join(shown) + rest or "none"
            lines.append(f"  {name}: {_plain(value)}")
        for finding in self.findings:
            lines.append(f"{finding.severity:<7} {finding.code:<22} {finding.message}")
            if finding.frames:
                shown = ", ".join(map(str, finding.frames[:12])) + (", ..." if len(finding.frames) > 12 else "")
                lines.append(f"{'':<31}frames {shown}")
        return lines


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_frames(frame_file: FrameFile) -> DataReport:
    """Look for everything that is known to spoil a training set.

    Args:
        frame_file: As read, best with ``on_bad="skip"`` so that unusable frames are listed instead of stopping.

    Returns:
        The report. Nothing is changed or removed.
    """
    frames, read = frame_file.frames, frame_file.report
    bound = [frame for frame in frames if not is_isolated_atom(frame)]
    elements = sorted({symbol for frame in frames for symbol in set(frame.atoms.get_chemical_symbols())},
                      key=atomic_numbers.get)
    with_energy = any(frame.has("energy") for frame in frames)
    energies = fit_atomic_energies(frames, elements) if with_energy else None
    findings = _reading(read) + _coverage(frames, read)
    for look in (_duplicates, _forces, _net_forces, _zeros, _isolated):
        findings += look(frames)
    distances, overlaps = _distances(frames)
    findings += overlaps
    if energies is not None and bound:
        findings += _energies(bound, energies)
    if isinstance(read.stress_sign, SignProof):
        findings.append(Finding("stress-sign", "info", read.stress_sign.sentence()))
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    return DataReport(read, findings, _summary(frames, elements, energies, distances))


def _frames(frames: Sequence[Frame], test: Callable[[Frame], bool]) -> tuple[int, ...]:
    return tuple(frame.index for frame in frames if test(frame))


def _reading(read: ReadReport) -> list[Finding]:
    findings = [Finding("unusable-frame", "error", f"{bad.where}: {bad.reason}", (bad.index,)) for bad in read.skipped]
    return findings + [Finding("reading", "warning", warning) for warning in read.warnings]


def _coverage(frames: Sequence[Frame], read: ReadReport) -> list[Finding]:
    findings = []
    for label in LABELS:
        bound = [frame for frame in frames if not (label != "energy" and is_isolated_atom(frame))]
        if label == "stress":
            bound = [frame for frame in bound if np.isfinite(frame.volume)]
        missing = _frames(bound, lambda frame, label=label: not frame.has(label))
        if bound and len(missing) == len(bound):
            severity = "info" if label == "stress" else "error"
            there = ", ".join(read.available.get("info", []) + read.available.get("arrays", [])) or "none"
            findings.append(Finding(f"no-{label}", severity, f"no frame has {label}; keys that are there: {there}"))
        elif missing:
            findings.append(Finding(f"partial-{label}", "warning", f"{len(missing)} of {len(bound)} frames have no "
                                    f"{label} (they are masked in the loss)", missing))
    return findings


def _duplicates(frames: Sequence[Frame]) -> list[Finding]:
    groups = find_duplicates(hash_frames(frames))
    if not groups:
        return []
    repeated = tuple(frames[place].index for group in groups for place in group[1:])
    findings = [Finding("duplicates", "warning", f"{len(repeated)} frames repeat the structure of an earlier one",
                        repeated)]
    different = tuple(
        frames[group[0]].index for group in groups
        if np.ptp([frames[place].energy for place in group if frames[place].has("energy")] or [0.0])
        > 1e-3 * len(frames[group[0]].atoms)
    )
    if different:
        findings.append(Finding("contradictions", "error", f"{len(different)} structures are there several times with "
                                f"energies that differ by more than 1 meV/atom", different))
    return findings


def _forces(frames: Sequence[Frame]) -> list[Finding]:
    large = _frames(frames, lambda frame: frame.forces is not None
                    and np.linalg.norm(frame.forces, axis=1).max() > LARGE_FORCE)
    return [Finding("large-forces", "warning", f"{len(large)} frames have a force above {LARGE_FORCE:g} eV/A", large)
            ] if large else []


def _net_forces(frames: Sequence[Frame]) -> list[Finding]:
    def net(frame: Frame) -> float:
        return float(np.linalg.norm(frame.forces.sum(axis=0)) / len(frame.atoms)) if frame.forces is not None else 0.0

    drifting = _frames(frames, lambda frame: net(frame) > NET_FORCE)
    if not drifting:
        return []
    largest = max(map(net, frames))
    return [Finding("net-force", "warning", f"the forces of {len(drifting)} frames do not sum to zero (up to "
                    f"{1000 * largest:.3g} meV/A an atom): no potential can fit that part", drifting)]


def _zeros(frames: Sequence[Frame]) -> list[Finding]:
    findings = []
    for label in ("forces", "stress"):
        having = [frame for frame in frames if frame.has(label) and not (label == "forces" and len(frame.atoms) == 1)]
        if len(having) > 1 and not any(getattr(frame, label).any() for frame in having):
            findings.append(Finding(f"all-zero-{label}", "warning", f"the {label} of all {len(having)} frames is "
                                    f"exactly zero: a placeholder?"))
    return findings


def _isolated(frames: Sequence[Frame]) -> list[Finding]:
    isolated = [frame for frame in frames if is_isolated_atom(frame)]
    if not isolated:
        return [Finding("no-isolated-atoms", "info", "no isolated-atom frames: atomic energies come from a "
                        "least-squares fit")]
    symbols = sorted({frame.atoms.get_chemical_symbols()[0] for frame in isolated}, key=atomic_numbers.get)
    return [Finding("isolated-atoms", "info", f"isolated-atom frames for {', '.join(symbols)}",
                    tuple(frame.index for frame in isolated))]


def _distances(frames: Sequence[Frame]) -> tuple[dict[str, float], list[Finding]]:
    closest: dict[tuple[int, int], float] = {}
    overlapping, coincident, findings = [], [], []
    for frame in frames:
        numbers = frame.atoms.numbers
        try:
            found = neighbor_list(frame.atoms.positions, frame.atoms.cell.array, frame.atoms.pbc, _NEIGHBOR_CUTOFF,
                                  max_edges=_MAX_PAIRS, where=frame.source)
        except StructureError as error:
            findings.append(Finding("too-dense", "error", str(error), (frame.index,)))
            continue
        distance = found.distance
        if len(distance) == 0:
            continue
        first, second = numbers[found.center], numbers[found.neighbor]
        pairs = np.minimum(first, second) * 1000 + np.maximum(first, second)
        for pair in np.unique(pairs):
            key = divmod(int(pair), 1000)
            closest[key] = min(closest.get(key, np.inf), float(distance[pairs == pair].min()))
        if (distance < OVERLAP * (covalent_radii[first] + covalent_radii[second])).any():
            overlapping.append(frame.index)
        if distance.min() < 0.05:
            coincident.append(frame.index)
    if coincident:
        findings.append(Finding("coincident-atoms", "error", f"{len(coincident)} frames have atoms less than 0.05 A "
                                f"apart", tuple(coincident)))
    if overlapping:
        findings.append(Finding("overlapping-atoms", "warning", f"{len(overlapping)} frames have atoms closer than "
                                f"{OVERLAP:g} of the sum of their covalent radii", tuple(overlapping)))
    table = {f"{chemical_symbols[a]}-{chemical_symbols[b]}": closest[a, b] for a, b in sorted(closest, key=closest.get)}
    return table, findings


def _energies(frames: Sequence[Frame], energies: AtomicEnergies) -> list[Finding]:
    findings = [Finding("atomic-energies", "warning", warning) for warning in energies.warnings]
    having = [frame for frame in frames if frame.has("energy")]
    if not having:
        return findings
    left = np.array([(frame.energy - energies.of(frame.atoms)) / len(frame.atoms) for frame in having])
    middle = float(np.median(left))
    far = np.abs(left - middle) > LARGE_ENERGY
    if far.any():
        findings.append(Finding("energy-outliers", "warning", f"{int(far.sum())} frames have an energy more than "
                                f"{LARGE_ENERGY:g} eV/atom from the others of their composition",
                                tuple(frame.index for frame, is_far in zip(having, far) if is_far)))
    return findings


def _rms(values: np.ndarray) -> float | None:
    largest = float(np.abs(values).max()) if len(values) else 0.0
    # Scaled, so that an absurd value in the file is reported and does not overflow.
    return float(largest * np.sqrt(np.mean((values / largest) ** 2))) if largest else (0.0 if len(values) else None)


def _summary(frames: Sequence[Frame], elements: Sequence[str], energies: AtomicEnergies | None,
             distances: dict[str, float]) -> dict[str, Any]:
    sizes = [len(frame.atoms) for frame in frames]
    forces = np.concatenate([frame.forces.ravel() for frame in frames if frame.forces is not None] or [np.empty(0)])
    summary: dict[str, Any] = {
        "elements": " ".join(elements),
        "atoms a frame": f"{min(sizes)} to {max(sizes)}",
        "forces rms (eV/A)": _rms(forces),
        "config types": dict(Counter(frame.config_type for frame in frames)),
        "smallest distances (A)": distances,
    }
    if energies is not None:
        summary["atomic energies from"] = energies.origin
        summary["atomic energies (eV)"] = energies.values
    return summary
