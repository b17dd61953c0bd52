"""A hash of a structure that equal structures share, to find duplicates."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from equipot.data.frames import Frame

#: Lengths are rounded to this (Angstrom), far above what eight printed decimals lose.
RESOLUTION = 1e-4


def geometry_hash(atoms: Atoms) -> str:
    """Hash elements, periodicity, cell and positions, rounded, relative to the first atom and wrapped into the cell.

    Shifting all atoms together, or single atoms by lattice vectors, does not change it; rotating does.
    """
    cell = atoms.cell.array
    pbc = np.asarray(atoms.pbc)
    relative = atoms.positions - atoms.positions[:1]
    if pbc.any():
        lattice = atoms.cell.complete().array
        fractions = np.linalg.solve(lattice.T, relative.T).T
        # A whole number of steps along each vector, so that a shift by the vector is a whole number of steps too.
        steps = np.maximum(np.round(np.linalg.norm(lattice, axis=1) / RESOLUTION), 1.0)
        whole = np.round(fractions * steps).astype(np.int64)
        rounded = np.where(pbc, whole % steps.astype(np.int64), whole)
    else:
        rounded = np.round(relative / RESOLUTION).astype(np.int64)
    used_cell = np.round(np.where(pbc[:, None], cell, 0.0) / RESOLUTION).astype(np.int64)
    digest = hashlib.sha256()
    for array in (atoms.numbers.astype(np.int64), pbc, used_cell, rounded):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def find_duplicates(hashes: Sequence[str]) -> list[list[int]]:
    """Positions of equal hashes, one list a set of duplicates, in order of first appearance."""
    places: dict[str, list[int]] = defaultdict(list)
    for position, value in enumerate(hashes):
        places[value].append(position)
    return [group for group in places.values() if len(group) > 1]


def hash_frames(frames: Sequence[Frame]) -> list[str]:
    """The geometry hash of each frame."""
    return [geometry_hash(frame.atoms) for frame in frames]
