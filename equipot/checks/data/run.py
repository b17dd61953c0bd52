"""The data doctor: read, look for everything that is known to spoil a training set, gather the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import numpy as np

from equipot.checks.data.registry import CHECKS, Context, Progress, run_check
from equipot.checks.data.result import DataReport, Skip
from equipot.data.frames import FrameFile
from equipot.data.placeholders import find_placeholders, mark_placeholders
from equipot.errors import UsageError

# Importing a group registers its checks, in the order they run.
for _group in ("reading", "stress", "forces", "energies", "energy_checks", "structures", "repeats", "coverage"):
    import_module(f"equipot.checks.data.{_group}")

#: Angstrom, of the neighbour list where none is asked for: that of most models.
DEFAULT_CUTOFF = 5.0


def check_frames(
    files: FrameFile | Sequence[FrameFile],
    *,
    against: Sequence[FrameFile] = (),
    cutoff: float = DEFAULT_CUTOFF,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> DataReport:
    """Look for everything that is known to spoil a training set.

    Args:
        files: As read, best with ``on_bad="skip"`` so that unusable frames are listed instead of stopping.
        against: Files no structure of which should be among these (a test set).
        cutoff: Of the potential to be trained (Angstrom).
        only: Codes of the checks to run; default all.
        progress: Called with (what, done, total).

    Returns:
        The report. Nothing is changed or removed.

    Raises:
        UsageError: There is no check of that code.
    """
    unknown = [code for code in only if code not in CHECKS]
    if unknown:
        raise UsageError(f"There is no check {', '.join(unknown)}; there are {', '.join(CHECKS)}.")
    files = [_searched(file) for file in ([files] if isinstance(files, FrameFile) else files)]
    context = Context(files, list(against), float(cutoff), progress or (lambda what, done, total: None))
    results = [run_check(entry, context) for code, entry in CHECKS.items() if not only or code in only]
    summary = _summary(context)
    curves = {name: value for name, value in context.curves.items() if not name.startswith("_")}
    return DataReport([file.report for file in files], [file.report for file in against], results, summary, curves)


def _searched(file: FrameFile) -> FrameFile:
    """The file with its placeholders found, where it was not read but put together."""
    if file.report.placeholders is not None:
        return file
    frames = [replace(frame) for frame in file.frames]
    found = find_placeholders(frames)
    mark_placeholders(frames, found)
    return FrameFile(frames, replace(file.report, placeholders=found))


def _summary(context: Context) -> dict:
    frames = context.frames
    sizes = [len(frame.atoms) for frame in frames]
    forces = [frame.forces[np.isfinite(frame.forces)] for frame in frames if frame.forces is not None]
    forces = [values for values in forces if len(values)]
    largest = max((float(np.abs(values).max()) for values in forces), default=0.0)
    summary = {
        "frames": len(frames),
        "elements": " ".join(context.elements),
        "atoms a frame": f"{min(sizes)} to {max(sizes)}",
        "config types": dict(Counter(frame.config_type for frame in frames)),
    }
    if largest:  # scaled, so that an absurd value in the file does not overflow
        squares = sum(float(np.sum((values / largest) ** 2)) for values in forces)
        summary["forces rms (eV/A)"] = largest * float(np.sqrt(squares / sum(values.size for values in forces)))
    try:
        energies = context.atomic_energies
    except Skip:
        pass
    else:
        summary |= {"atomic energies from": energies.origin, "atomic energies (eV)": energies.values}
    closest = context.survey.closest
    summary["smallest distances (A)"] = {
        f"{one}-{two}": closest[one, two] for one, two in sorted(closest, key=closest.get)
    }
    return summary
