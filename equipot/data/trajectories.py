"""Frames that follow each other in a trajectory so closely that they are nearly one structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from equipot.data.frames import Frame
from equipot.data.kabsch import rotation_onto

#: Frames that follow each other are nearly one structure where atoms have moved by less (Angstrom, root mean square):
#: a few steps of dynamics. Thermal motion takes a structure at room temperature 0.15 or more from a later one.
NEAR_DISPLACEMENT = 0.05
#: ... and no component of the deformation of the cell is larger: less than scans of strain and volume step.
NEAR_STRAIN = 2e-3


def trajectory_runs(frames: Sequence[Frame]) -> list[list[int]]:
    """Divide frames into runs: in each, every frame is nearly the one before it.

    Args:
        frames: In the order of their files. A frame is held against the one before it in its file that has the same
            atoms in the same order, so trajectories may alternate.

    Returns:
        Positions, every frame in one run (most are alone).
    """
    runs: list[list[int]] = []
    last: dict[tuple, list[int]] = {}
    for position, frame in enumerate(frames):
        atoms = frame.atoms
        key = frame.source.rsplit(" frame ", 1)[0], atoms.numbers.tobytes(), atoms.pbc.tobytes()
        run = last.get(key)
        if run is not None and _is_near(frames[run[-1]].atoms, atoms):
            run.append(position)
        else:
            last[key] = [position]
            runs.append(last[key])
    return runs


def _is_near(one: Atoms, two: Atoms) -> bool:
    if len(one) == 0:
        return False
    if not one.pbc.any():
        first, second = (atoms.positions - atoms.positions.mean(axis=0) for atoms in (one, two))
        moved = second @ rotation_onto(second, first) - first
    else:
        cells = one.cell.complete().array, two.cell.complete().array
        if np.abs(np.linalg.solve(*cells) - np.eye(3)).max() > NEAR_STRAIN:
            return False
        first, second = (np.linalg.solve(cell.T, atoms.positions.T).T for cell, atoms in zip(cells, (one, two)))
        change = second - first
        change -= np.round(change) * one.pbc
        moved = (change - change.mean(axis=0)) @ cells[0]
    return bool(np.mean(np.sum(moved**2, axis=1)) < NEAR_DISPLACEMENT**2)
