"""Steps between near frames of the same atoms, whose energies, forces and stresses must tell one story."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from equipot.data.frames import Frame
from equipot.data.pair_work import PairWork, pair_work

#: Which of the frames nearest to it each frame is compared with: the nearest make the smallest error, those farther off
#: a difference of energy above the noise ...
_RANKS = (1, 2, 3, 4, 10, 30)
#: ... of at most so many in a group (evenly chosen), with steps no larger than this.
_MOST_FRAMES = 1500
_LARGEST_STRAIN, _LARGEST_DISPLACEMENT, _LARGEST_MOLECULAR = 0.15, 0.4, 0.5


@dataclass(frozen=True)
class Step:
    """Two frames (positions among all) and the work between them."""

    first: int
    second: int
    num_atoms: int
    work: PairWork


def near_steps(frames: Sequence[Frame], progress: Callable[[str, int, int], None]) -> dict[tuple[str, str], list[Step]]:
    """Find the nearest frames of every frame among those of the same config_type and the same atoms in the same order.

    Returns:
        (config_type, formula) -> steps small enough for the trapezoid rule. Frames without an energy are left aside.
    """
    groups: dict[tuple, list[int]] = defaultdict(list)
    for position, frame in enumerate(frames):
        if frame.has("energy") and len(frame.atoms):
            kind = tuple(frame.atoms.pbc) if np.isfinite(frame.volume) or not frame.atoms.pbc.any() else None
            if kind is not None:
                groups[frame.config_type, frame.atoms.numbers.tobytes(), kind].append(position)
    found: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for done, ((config_type, _, _), members) in enumerate(groups.items()):
        progress("comparing near frames", done, len(groups))
        if len(members) > _MOST_FRAMES:
            members = [members[int(k)] for k in np.linspace(0, len(members) - 1, _MOST_FRAMES)]
        name = (config_type, frames[members[0]].atoms.get_chemical_formula())
        for one, two in _near_pairs([frames[position] for position in members]):
            first, second = frames[members[one]], frames[members[two]]
            largest = _LARGEST_DISPLACEMENT if np.isfinite(first.volume) else _LARGEST_MOLECULAR
            work = pair_work(first, second, largest_strain=_LARGEST_STRAIN, largest_displacement=largest)
            if work is not None:
                found[name].append(Step(members[one], members[two], len(first.atoms), work))
    progress("comparing near frames", len(groups), len(groups))
    return dict(found)


def _near_pairs(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    """Each frame with its nearest others, every pair once."""
    if len(frames) < 2:
        return []
    points = np.array([_coordinates(frame) for frame in frames])
    points -= points.mean(axis=0)
    squares = np.sum(points**2, axis=1)
    distances = squares[:, None] + squares - 2.0 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    # In a small group the tenth is at the other end, where the trapezoid rule is no longer exact.
    ranks = [rank - 1 for rank in _RANKS if rank < len(frames) and (rank < 5 or 4 * rank <= len(frames))]
    nearest = np.argsort(distances, axis=1)[:, ranks]
    return sorted({(min(one, int(two)), max(one, int(two))) for one in range(len(frames)) for two in nearest[one]})


def _coordinates(frame: Frame) -> np.ndarray:
    """Numbers (Angstrom) whose differences are small between frames that a small step takes into each other."""
    positions, scale = frame.atoms.positions, 1.0 / np.sqrt(len(frame.atoms))
    if not frame.atoms.pbc.all():
        return ((positions - positions.mean(axis=0)) * scale).ravel()
    cell = frame.atoms.cell.array
    values, vectors = np.linalg.eigh(cell @ cell.T)
    shape = vectors @ np.diag(np.sqrt(np.maximum(values, 0.0))) @ vectors.T  # the cell without its orientation
    fractions = np.linalg.solve(cell.T, positions.T).T
    angles = 2.0 * np.pi * (fractions - fractions[:1])
    lengths = np.linalg.norm(cell, axis=1) / (2.0 * np.pi) * scale
    return np.concatenate([shape.ravel(), (np.cos(angles) * lengths).ravel(), (np.sin(angles) * lengths).ravel()])
