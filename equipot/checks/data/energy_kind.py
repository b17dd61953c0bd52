"""Which energies the forces and stresses belong to: those that were read, free energies beside them, or N times them.

Over a step between near frames the energy changes by the work of forces and stress. With smeared occupations that holds
for the free energy, and not for the energy without entropy that stands beside it. Where a file gives energies of one
atom, it holds for N times the energies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from equipot.checks.data.steps import Step
from equipot.data.frames import Frame

#: What a step may be off: noise of energies (eV/atom), parts of the work and of its change between both ends.
_NOISE, _PART, _CURVATURE = 2e-5, 0.02, 0.05
#: Two kinds are told apart by steps whose energies differ by so many times what may be off ...
_APART = 3.0
#: ... of which there must be so many, and so large a part must say the same.
_MIN_STEPS, _MIN_PART = 4, 0.8
#: The right energies are off by no more than so many times what may be; the wrong ones by so many times more.
_GOOD, _WORSE = 2.0, 4.0

READ, OTHER, PER_ATOM = "read", "other", "per atom"


@dataclass(frozen=True)
class EnergyKind:
    """What the steps say.

    Attributes:
        kind: ``read``: the energies are right as read. ``other``: those under the other key are. ``per atom``: they are
            those of one atom. Empty: the steps cannot tell.
        num_steps: Steps that tell the kinds apart.
        part: How many of them (0 to 1) say so.
        error_read, error_best: Median of what work leaves of the energies as read, and of the right ones (eV/atom).
        rival: Kind that the winner was held against.
    """

    kind: str = ""
    num_steps: int = 0
    part: float = 0.0
    error_read: float = float("nan")
    error_best: float = float("nan")
    rival: str = ""


def find_energy_kind(steps: Mapping[tuple[str, str], Sequence[Step]], frames: Sequence[Frame]) -> EnergyKind:
    """Hold the energies as read against the free energies, and against N times themselves."""
    known = [step for group in steps.values() for step in group if step.num_atoms > 1]
    if not known:
        return EnergyKind()
    work = np.array([step.work.force_work + step.work.stress_work for step in known])
    allowed = np.array(
        [
            _NOISE * step.num_atoms
            + _PART * (abs(step.work.force_work) + abs(step.work.stress_work))
            + _CURVATURE * (step.work.force_curvature + step.work.stress_curvature)
            for step in known
        ]
    )
    sizes = np.array([step.num_atoms for step in known])
    read = np.array([step.work.energy for step in known])
    other = np.array([frames[step.second].other_energy - frames[step.first].other_energy for step in known])
    with_other = _compare(read, other, work, allowed, sizes, OTHER)
    if with_other.kind:
        return with_other
    return _compare(read, read * sizes, work, allowed, sizes, PER_ATOM)


def _compare(
    read: np.ndarray, rival: np.ndarray, work: np.ndarray, allowed: np.ndarray, sizes: np.ndarray, name: str
) -> EnergyKind:
    telling = np.abs(rival - read) > _APART * allowed  # False for NaN
    if telling.sum() < _MIN_STEPS:
        return EnergyKind(num_steps=int(telling.sum()), rival=name)
    left = {READ: np.abs(read - work)[telling], name: np.abs(rival - work)[telling]}
    median = {kind: float(np.median(values / allowed[telling])) for kind, values in left.items()}
    best = min(median, key=median.get)
    worse = name if best == READ else READ
    part = float(np.mean(left[best] < left[worse]))
    per_atom = {kind: float(np.median(values / sizes[telling])) for kind, values in left.items()}
    proven = part >= _MIN_PART and median[best] < _GOOD and median[worse] > _WORSE * max(median[best], 0.5)
    return EnergyKind(best if proven else "", int(telling.sum()), part, per_atom[READ], per_atom[best], name)
