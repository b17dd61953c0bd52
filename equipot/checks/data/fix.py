"""Putting right what the doctor has proven: a copy of the frames, and what was done to each."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from equipot.checks.data.result import DataReport, Fix
from equipot.checks.data.step_fits import reorder_shear
from equipot.data.frames import Frame, FrameFile

#: What is done only where it is asked for, and what it does.
OPTIONAL = {
    "net-force": "takes the mean force off every frame whose forces do not sum to zero",
    "leaks": "leaves out frames that are also in the files of --against",
}
_ON_REQUEST = {"net_force": "net-force", "drop_leak": "leaks"}


@dataclass
class FixedFrames:
    """The corrected frames.

    Attributes:
        frames: What is to be written, in order.
        done: What was done, one line a kind, with the number of frames.
        by_frame: (file, frame) -> what was done to it, in order.
        dropped: How many frames were left out.
        open: Failures and warnings that remain, as codes.
    """

    frames: list[Frame]
    done: list[str] = field(default_factory=list)
    by_frame: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    dropped: int = 0
    open: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Printable lines: what was done, then to which frames (equal ones together)."""
        lines = [f"  {line}" for line in self.done]
        alike: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
        for (file, frame), actions in self.by_frame.items():
            alike[file, tuple(actions)].append(frame)
        lines += [
            f"    {file} frame{'s' if len(frames) > 1 else ''} {_ranges(frames)}: {'; '.join(actions)}"
            for (file, actions), frames in alike.items()
        ]
        return lines


def fix_frames(files: Sequence[FrameFile], report: DataReport, *, also: Sequence[str] = ()) -> FixedFrames:
    """Apply what was proven, and nothing else. The frames given are not changed.

    Args:
        files: Those that were checked, in the same order.
        report: What the check found.
        also: Of :data:`OPTIONAL`.

    Returns:
        Copies of the frames: stresses and forces in eV and Angstrom with the right sign and order, copies of a
        structure with the same energy left out once, unusable frames left out (they are not among the frames).
    """
    frames = [copy.deepcopy(frame) for file in files for frame in file.frames]
    names = [file.report.path.rsplit("/", 1)[-1] for file in files for _ in file.frames]
    result = FixedFrames([])
    dropped: set[int] = set()
    # Order first, then factors, so that a label with two faults is put right by both; the mean force last.
    order = ("energy_per_atom shear_order", "stress_factor forces_factor", "net_force", "drop drop_leak")
    rank = {kind: place for place, kinds in enumerate(order) for kind in kinds.split()}
    for fix in sorted(report.fixes(), key=lambda fix: rank[fix.kind]):
        if fix.kind in _ON_REQUEST and _ON_REQUEST[fix.kind] not in also:
            continue
        for position in fix.positions:
            said = _apply(frames[position], fix)
            result.by_frame.setdefault((names[position], frames[position].index), []).append(said)
            if fix.kind in ("drop", "drop_leak"):
                dropped.add(position)
        result.done.append(f"{len(fix.positions)} frames: {fix.reason}")
    for file in files:
        name = file.report.path.rsplit("/", 1)[-1]
        for bad in file.report.skipped:
            result.by_frame.setdefault((name, bad.index), []).append(f"left out: {bad.reason}")
            result.dropped += 1
        renamed = [
            f"{label} from {key} to REF_{label}"
            for label, key in file.report.keys.items()
            if key is not None and key != f"REF_{label}"
        ]
        if renamed:
            result.done.append(f"{len(file.frames)} frames of {name}: {', '.join(renamed)}, in eV, A, eV/A^3")
    result.frames = [frame for position, frame in enumerate(frames) if position not in dropped]
    result.dropped += len(dropped)
    return result


def _apply(frame: Frame, fix: Fix) -> str:
    if fix.kind == "stress_factor":
        # Of a virial: the sign, over the volume.
        factor = fix.value[1] / frame.volume if isinstance(fix.value, tuple) else fix.value
        frame.stress = frame.stress * factor
        return f"stress times {factor:.6g}"
    if fix.kind == "forces_factor":
        frame.forces = frame.forces * fix.value
        return f"forces times {fix.value:.6g}"
    if fix.kind == "shear_order":
        frame.stress = reorder_shear(frame.stress, fix.value)
        return "shear components put in order"
    if fix.kind == "energy_per_atom":
        frame.energy = frame.energy * len(frame.atoms)
        return f"energy times {len(frame.atoms)}"
    if fix.kind == "net_force":
        mean = frame.forces.mean(axis=0)
        frame.forces = frame.forces - mean
        return f"mean force of {1000 * np.linalg.norm(mean):.3g} meV/A taken off"
    return f"left out: {fix.reason}"


def _ranges(numbers: Sequence[int]) -> str:
    """Whole numbers as ranges: ``0-5, 7``."""
    parts, ordered = [], sorted(numbers)
    begin = end = ordered[0]
    for number in [*ordered[1:], None]:
        if number is not None and number == end + 1:
            end = number
            continue
        parts.append(f"{begin}" if begin == end else f"{begin}-{end}")
        begin = end = number
    return ", ".join(parts)
