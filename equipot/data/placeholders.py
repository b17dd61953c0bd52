"""Zeros that stand where no label was computed: forces of atoms that are pulled, stresses of frames with bonds.

A force is exactly zero where symmetry makes it so, and nowhere else in a structure that was displaced. Whether symmetry
can make it so is seen from the neighbours: where their sum of pair vectors is not zero, no symmetry acts on the atom.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import StructureError
from equipot.graph import neighbor_list

#: Neighbours nearer than this, in sums of covalent radii, pull at an atom; farther off a force may well be zero.
_REACH = 1.5
#: Sum of the neighbours' unit vectors, each fading to zero at the reach, from which on an atom has no symmetry: above
#: what four printed decimals of the positions leave, below that of atoms displaced by 0.01 Angstrom.
_PULLED = 2e-3
#: Forces that all are multiples of this (eV/Angstrom) were rounded so much that a zero says nothing.
_COARSE = 1e-3
_MAX_PAIRS = 2_000_000


@dataclass(frozen=True)
class Placeholders:
    """Zeros that are no labels, by position of the frame.

    Attributes:
        forces: Frames whose forces are all zero, although atoms are pulled.
        atoms: Frame -> (N,) bool: atoms with zero forces in frames where others have some.
        stress: Frames whose stress is zero, although atoms have neighbours.
    """

    forces: tuple[int, ...] = ()
    atoms: dict[int, np.ndarray] | None = None
    stress: tuple[int, ...] = ()

    def sentences(self, frames: Sequence[Frame]) -> list[str]:
        """What was found, in words; ``frames`` are those that were searched."""
        found = []
        if self.forces:
            found.append(
                f"the forces of {len(self.forces)} frames are exactly zero although their atoms are displaced (first "
                f"frame {frames[self.forces[0]].index}): placeholders, which are not taken as labels"
            )
        if self.atoms:
            number = sum(int(mask.sum()) for mask in self.atoms.values())
            found.append(
                f"in {len(self.atoms)} frames the forces of {number} atoms are exactly zero although nothing in the "
                f"structure makes them so (first frame {frames[min(self.atoms)].index}): a constraint has set them to "
                f"zero, and they are not taken as labels"
            )
        if self.stress:
            found.append(
                f"the stress of {len(self.stress)} frames is exactly zero (first frame "
                f"{frames[self.stress[0]].index}): a placeholder, which is not taken as a label"
            )
        return found


def find_placeholders(frames: Sequence[Frame]) -> Placeholders:
    """Look for zeros that are no labels.

    Args:
        frames: Of one file, as read; labels of weight 0 and atoms that are held are left aside. Structures are only
            looked at where something is exactly zero.
    """
    zero = {
        position: rows
        for position, frame in enumerate(frames)
        if frame.forces is not None
        and frame.forces_weight != 0.0
        and not is_isolated_atom(frame)
        and (rows := _zero_rows(frame)).any()
    }
    if zero and _are_coarse(frames):
        zero = {}
    pulled = {position: rows & _pulled_atoms(frames[position])[0] for position, rows in zero.items()}
    # One atom alone may be a coincidence; the same one again, elsewhere, is none.
    again = Counter(
        (frames[position].atoms.numbers.tobytes(), int(atom))
        for position, rows in pulled.items()
        for atom in np.flatnonzero(rows)
    )
    forces, atoms = [], {}
    for position, rows in pulled.items():
        frame = frames[position]
        if not rows.any():
            continue
        if rows.sum() == 1 and again[frame.atoms.numbers.tobytes(), int(np.flatnonzero(rows)[0])] < 2:
            continue
        if (zero[position] | _held(frame)).all():
            forces.append(position)
        else:
            atoms[position] = zero[position]
    stress = [
        position
        for position, frame in enumerate(frames)
        if frame.stress is not None
        and frame.stress_weight != 0.0
        and not frame.stress.any()
        and not is_isolated_atom(frame)
        and _pulled_atoms(frame)[1]
    ]
    forces, stress = _without_minima(frames, forces, "forces"), _without_minima(frames, stress, "stress")
    return Placeholders(tuple(forces), atoms, tuple(stress))


def mark_placeholders(frames: Sequence[Frame], found: Placeholders) -> None:
    """Make them labels that do not count: frames get weight 0, atoms are held."""
    for position in found.forces:
        frames[position].forces_weight = 0.0
    for position, rows in (found.atoms or {}).items():
        frames[position].held = _held(frames[position]) | rows
    for position in found.stress:
        frames[position].stress_weight = 0.0


def _without_minima(frames: Sequence[Frame], positions: Sequence[int], label: str) -> list[int]:
    """Leave out the structures of lowest energy among frames with the label: there it may well be zero."""
    zero = set(positions)
    lowest: dict[bytes, float] = {}
    for position, frame in enumerate(frames):
        if position not in zero and frame.has(label) and frame.has("energy"):
            key = frame.atoms.numbers.tobytes()
            lowest[key] = min(frame.energy, lowest.get(key, np.inf))
    return [
        position
        for position in positions
        if not frames[position].energy <= lowest.get(frames[position].atoms.numbers.tobytes(), -np.inf)
    ]


def _held(frame: Frame) -> np.ndarray:
    return np.zeros(len(frame.atoms), dtype=bool) if frame.held is None else frame.held


def _zero_rows(frame: Frame) -> np.ndarray:
    return ~frame.forces.any(axis=1) & ~_held(frame)


def _are_coarse(frames: Sequence[Frame]) -> bool:
    """Whether the forces that are not zero were written with so few decimals that a small one is a zero."""
    values = [frame.forces[frame.forces != 0.0] / _COARSE for frame in frames if frame.forces is not None]
    values = np.concatenate(values) if values else np.zeros(0)
    return bool(values.size) and bool(np.abs(values - np.round(values)).max() < 1e-6)


def _pulled_atoms(frame: Frame) -> tuple[np.ndarray, bool]:
    """(N,) bool, atoms no symmetry acts on; and whether any atom has a neighbour within reach."""
    atoms = frame.atoms
    radii = covalent_radii[atoms.numbers]
    nothing = np.zeros(len(atoms), dtype=bool), False
    try:
        found = neighbor_list(
            atoms.positions, atoms.cell.array, atoms.pbc, 2.0 * _REACH * float(radii.max()), max_edges=_MAX_PAIRS
        )
    except StructureError:
        return nothing
    part = found.distance / (_REACH * (radii[found.center] + radii[found.neighbor]))
    near = (part < 1.0) & (found.distance > 0.0)
    if not near.any():
        return nothing
    center, part = found.center[near], part[near]
    vectors = atoms.positions[found.neighbor[near]] - atoms.positions[center] + found.shift[near] @ atoms.cell.array
    weights = (1.0 - part**2) ** 2 / found.distance[near]
    pulls = np.stack([np.bincount(center, weights * column, len(atoms)) for column in vectors.T], axis=1)
    return np.linalg.norm(pulls, axis=1) > _PULLED, True
