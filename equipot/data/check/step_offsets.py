"""Frames whose energies are off by a constant against frames a small step away, one by one or as a set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from equipot.data.check.steps import Step

if TYPE_CHECKING:
    from equipot.data.check.registry import Context

#: A step is broken where what is left of its energy is beyond so many times what may be left, and eV/atom.
_TIMES, _SMALLEST = 10.0, 3e-3
#: Offsets of one set agree to this part of it.
_AGREE = 0.25


@dataclass(frozen=True)
class Offset:
    """Frames that lie a constant (eV/atom) from the others they are a step away from."""

    positions: tuple[int, ...]
    energy: float
    error: float
    num_steps: int


@dataclass
class Offsets:
    """Single frames (position -> eV/atom) and sets of at least three."""

    single: dict[int, float] = field(default_factory=dict)
    sets: list[Offset] = field(default_factory=list)


def step_offsets(context: Context) -> Offsets:
    """Find them among the steps whose forces and stresses are proven; worked out once."""
    known = context.curves.get("_step_offsets")
    if known is None:
        known = Offsets()
        for name, steps in context.steps.items():
            _add(known, *_residuals(context, name, steps))
        context.curves["_step_offsets"] = known
    return known


def _residuals(context: Context, name: tuple[str, str], steps: Sequence[Step]) -> tuple[list[Step], np.ndarray,
                                                                                        np.ndarray]:
    """Steps, what forces and stress leave of their energies, and what may be left (eV)."""
    kept: list[Step] = []
    left: list[float] = []
    allowed: list[float] = []
    stress, forces = context.stress_fits.get(name), context.force_fits.get(name)
    if stress is not None and (stress.is_proven or stress.unit == "eV/A^3") and stress.sign > 0:
        kept += stress.steps
        left += stress.residuals.tolist()
        allowed += stress.errors.tolist()
    if forces is None or not forces.is_wrong:
        for step in steps:
            if step.work.first is None and np.abs(step.work.strain).max() < 1e-7:
                kept.append(step)
                left.append(step.work.energy - step.work.force_work)
                allowed.append(2e-5 * step.num_atoms + 0.02 * abs(step.work.force_work)
                               + 0.3 * step.work.force_curvature)
    return kept, np.array(left), np.array(allowed)


def _add(known: Offsets, steps: list[Step], left: np.ndarray, allowed: np.ndarray) -> None:
    if len(steps) < 4:
        return
    sizes = np.array([step.num_atoms for step in steps])
    broken = np.abs(left) > np.maximum(_TIMES * allowed, _SMALLEST * sizes)
    if not broken.any() or broken.mean() > 0.7:
        return
    positions = sorted({position for step in steps for position in (step.first, step.second)})
    number = {position: k for k, position in enumerate(positions)}
    ends = np.array([(number[step.first], number[step.second]) for step in steps])
    whole = ends[~broken]
    links = coo_matrix((np.ones(len(whole)), (whole[:, 0], whole[:, 1])), (len(positions),) * 2)
    _, part = connected_components(links, directed=False)
    counts = np.bincount(part)
    between: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (one, two), energy in zip(ends[broken], (left / sizes)[broken]):
        first, second = part[one], part[two]
        if first == second:
            continue  # joined another way: the step itself is at fault
        small = second if counts[second] <= counts[first] else first
        large = first + second - small
        between[small, large].append(energy if small == second else -energy)
    for (small, large), energies in between.items():
        middle = float(np.median(energies))
        error = 1.4826 * float(np.median(np.abs(np.array(energies) - middle)))
        if len(energies) < 2 or counts[large] < 3 or error > _AGREE * abs(middle):
            continue
        members = tuple(positions[k] for k in np.flatnonzero(part == small))
        if counts[small] < 3:
            known.single.update(dict.fromkeys(members, middle))
        else:
            known.sets.append(Offset(members, middle, error, len(energies)))
