"""Which frames are isolated atoms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equipot.data.frames import Frame

#: Names of config_type that mark isolated-atom frames, compared without case, blanks and underscores.
ISOLATED_NAMES = frozenset({"isolatedatom", "isolatedatoms", "isolated"})
#: A single atom whose periodic images are all farther away than this (Angstrom) is isolated.
ISOLATED_DISTANCE = 9.0


def is_isolated_atom(frame: Frame) -> bool:
    """Whether a frame is one atom without bonds: marked so by its config_type, in no cell, or in a large one."""
    if len(frame.atoms) != 1:
        return False
    name = frame.config_type.lower().replace("_", "").replace("-", "").replace(" ", "")
    if name in ISOLATED_NAMES or not frame.atoms.pbc.any():
        return True
    lattice = frame.atoms.cell.complete().array
    steps = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1) if (i, j, k) != (0, 0, 0)])
    images = steps[(steps[:, ~np.asarray(frame.atoms.pbc)] == 0).all(axis=1)] @ lattice
    return bool(np.linalg.norm(images, axis=1).min() >= ISOLATED_DISTANCE)


def without_isolated(frames: Sequence[Frame]) -> list[Frame]:
    """The frames whose errors are counted: not isolated atoms, whose energy only says what E0 is.

    Where there are no others, these are what was asked for and are kept.
    """
    return [frame for frame in frames if not is_isolated_atom(frame)] or list(frames)
