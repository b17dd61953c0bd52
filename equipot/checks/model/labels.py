"""Group L: on the user's own labelled frames, the model is the model that was trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.tolerances import RELATIVE_FORCE_ERROR
from equipot.checks.verdicts import Skip
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

_MOST_FRAMES, _MOST_FRAMES_SHORT = 200, 30


@check("L1", "forces of the user's frames are reproduced")
def forces(context: Context) -> Iterator[Measure]:
    """Error over size of the forces: a half-loaded, half-averaged or mistaken model cannot hide here."""
    known = set(context.subject.elements)
    frames = [frame for frame in context.frames if frame.forces is not None and set(frame.atoms.symbols) <= known]
    if not frames or not any(frame.forces.any() for frame in frames):
        raise Skip("no labelled frames were given")
    most = _MOST_FRAMES_SHORT if context.is_short else _MOST_FRAMES
    frames = [frames[int(k)] for k in np.linspace(0, len(frames) - 1, min(most, len(frames)))]
    results = context.subject.evaluate_many([frame.atoms for frame in frames])
    reference = np.concatenate([frame.forces for frame in frames])
    error = np.concatenate([result.forces for result in results]) - reference
    size = float(np.sqrt(np.mean(reference**2)))
    rms = float(np.sqrt(np.mean(error**2)))
    where = f"{len(frames)} frames"
    yield Measure("rms error over rms force", rms / size, RELATIVE_FORCE_ERROR, "", where)
    yield Measure("force rms error", rms * 1000.0, np.inf, "meV/Å", where)
    energies = [
        (result.energy - frame.energy) / len(frame.atoms)
        for result, frame in zip(results, frames)
        if frame.has("energy")
    ]
    if energies:
        yield Measure("energy mean error", float(np.mean(np.abs(energies))) * MEV_PER_EV, np.inf, "meV/atom", where)
    stresses = [
        result.stress - frame.stress
        for result, frame in zip(results, frames)
        if frame.stress is not None and result.stress is not None
    ]
    if stresses:
        yield Measure("stress mean error", float(np.mean(np.abs(stresses))) * GPA_PER_EV_A3, np.inf, "GPa", where)
