"""Frames whose energies are off by a constant against frames a small step away, one by one or as a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from equipot.checks.data.steps import Step

if TYPE_CHECKING:
    from equipot.checks.data.registry import Context

#: A step is broken where what is left of its energy is beyond so many times what may be left, and eV/atom ...
_TIMES, _SMALLEST = 10.0, 3e-3
#: ... and beyond what chance would reach in one of a hundred data sets with as many steps, were sound steps to exceed
#: what may be left with a probability that halves with every median of it.
_FALSE_ALARMS = 0.01
#: How fast (1/Angstrom) a bond loses its stiffness when it is stretched, over 6: what the trapezoid rule misses is this
#: times stiffness and the cube of the displacement. The stiffness is that of the stiffest steps but so many.
_ANHARMONIC, _STIFF = 0.5, 95.0
#: Offsets of one set agree to this part of it.
_AGREE = 0.25
#: Steps that do not agree with the levels: more than this part, and there are no levels.
_INCONSISTENT = 0.15


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

    @property
    def positions(self) -> set[int]:
        """All frames that are off."""
        return {*self.single, *(position for offset in self.sets for position in offset.positions)}


def step_offsets(context: Context) -> Offsets:
    """Find them among the steps whose forces and stresses are proven; worked out once."""
    known = context.curves.get("_step_offsets")
    if known is None:
        known = Offsets()
        groups = [_residuals(context, name, steps) for name, steps in context.steps.items()]
        times = _times([np.abs(left) / allowed for _, left, allowed in groups])
        for steps, left, allowed in groups:
            _add(known, steps, left, allowed, times)
        context.curves["_step_offsets"] = known
    return known


def _times(ratios: Sequence[np.ndarray]) -> float:
    """By how many times what may be left a step must be off to be broken, among all the steps that are looked at."""
    values = np.concatenate([*ratios, np.zeros(0)])
    if not len(values):
        return _TIMES
    return max(_TIMES, float(np.median(values)) * float(np.log2(len(values) / _FALSE_ALARMS)))


def _residuals(
    context: Context, name: tuple[str, str], steps: Sequence[Step]
) -> tuple[list[Step], np.ndarray, np.ndarray]:
    """Steps, what forces and stress leave of their energies, and what may be left (eV)."""
    kept: list[Step] = []
    left: list[float] = []
    allowed: list[float] = []
    stress, forces = context.stress_fits.get(name), context.force_fits.get(name)
    if stress is not None:
        kept += stress.steps
        left += stress.residuals.tolist()
        allowed += stress.errors.tolist()
    if forces is None or not forces.is_wrong:
        inside = [step for step in steps if step.work.first is None and np.abs(step.work.strain).max() < 1e-7]
        stiffness = _stiffness(inside)
        for step in inside:
            kept.append(step)
            left.append(step.work.energy - step.work.force_work)
            allowed.append(
                2e-5 * step.num_atoms
                + 0.02 * abs(step.work.force_work)
                + 0.3 * step.work.force_curvature
                + _ANHARMONIC * stiffness * step.work.cubed
            )
    return kept, np.array(left), np.array(allowed)


def _stiffness(steps: Sequence[Step]) -> float:
    """Change of the forces along a step over its length (eV/Angstrom^2), of nearly the stiffest.

    Forces that happen to be equal at both ends say nothing of what lies between; other steps of the group do.
    """
    values = [step.work.force_curvature / step.work.squared for step in steps if step.work.squared > 1e-6]
    return float(np.percentile(values, _STIFF)) if values else 0.0


def _add(known: Offsets, steps: list[Step], left: np.ndarray, allowed: np.ndarray, times: float) -> None:
    """Give every frame a level, so that the levels of two frames differ by what their step leaves over."""
    if len(steps) < 4:
        return
    sizes = np.array([step.num_atoms for step in steps])
    left, limits = left / sizes, np.maximum(times * allowed / sizes, _SMALLEST)
    if not (np.abs(left) > limits).any():
        return
    positions = sorted({position for step in steps for position in (step.first, step.second)})
    number = {position: k for k, position in enumerate(positions)}
    ends = np.array([(number[step.first], number[step.second]) for step in steps])
    levels, parts = _levels(ends, left, limits, len(positions))
    for part in np.unique(parts):
        inside = np.flatnonzero(parts[ends[:, 0]] == part)
        off = np.abs(levels[ends[inside, 1]] - levels[ends[inside, 0]] - left[inside]) > 2.0 * limits[inside]
        if off.mean() <= _INCONSISTENT:
            _add_part(known, np.flatnonzero(parts == part), levels, positions, ends[inside], limits[inside])


def _levels(ends: np.ndarray, left: np.ndarray, limits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels along the tree of the most exact steps, and the connected part of each frame."""
    links = coo_matrix((limits, (ends[:, 0], ends[:, 1])), (count, count)).tocsr()
    tree = minimum_spanning_tree(links)
    difference = coo_matrix((left, (ends[:, 0], ends[:, 1])), (count, count)).tocsr()
    _, parts = connected_components(links, directed=False)
    levels = np.zeros(count)
    for part in np.unique(parts):
        root = int(np.flatnonzero(parts == part)[0])
        order, before = breadth_first_order(tree, root, directed=False)
        for node in order[1:]:
            one = before[node]
            levels[node] = levels[one] + difference[one, node] - difference[node, one]
    return levels, parts


def _add_part(
    known: Offsets, members: np.ndarray, levels: np.ndarray, positions: list[int], ends: np.ndarray, limits: np.ndarray
) -> None:
    """The frames that are not at the level of most."""
    near = float(np.median(limits))
    values = np.sort(levels[members])
    counts = np.searchsorted(values, values + near, "right") - np.searchsorted(values, values - near, "left")
    usual = float(values[counts.argmax()])
    shift = levels[members] - usual
    normal = np.abs(shift) <= near
    if normal.sum() < 3 or normal.mean() < 0.5:
        return
    normal_set = set(members[normal].tolist())
    while not normal.all():
        worst = float(shift[~normal][np.abs(shift[~normal]).argmax()])
        same = ~normal & (np.abs(shift - worst) <= max(near, _AGREE * abs(worst)))
        inside = set(members[same].tolist())
        joined = [
            k for k, (one, two) in enumerate(ends) if (one in inside) != (two in inside) and ({one, two} & normal_set)
        ]
        middle = float(np.median(shift[same]))
        found = tuple(positions[k] for k in members[same])
        if len(found) < 3 and len(joined) >= 2:
            known.single.update(dict.fromkeys(found, middle))
        elif len(found) >= 3:
            error = 1.4826 * float(np.median(np.abs(shift[same] - middle)))
            known.sets.append(Offset(found, middle, error, len(joined)))
        normal |= same
