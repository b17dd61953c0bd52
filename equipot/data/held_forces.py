"""Forces that a constraint has set to zero: they are no labels.

ASE's ``get_forces()`` hands over zeros for atoms that FixAtoms holds, and such zeros are stored as if they were forces.
VASP's own files hold the whole forces whatever the selective dynamics, so that a constraint alone says nothing: only a
force that the constraint would leave as it is has been through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixedLine, FixedPlane, FixScaled

from equipot.data.frames import Frame

#: Constraints that act on each of their atoms alone. The others (bond lengths, the centre of mass) move forces from one
#: atom to another, and none is zero because of them.
_HOLDING = (FixAtoms, FixCartesian, FixScaled, FixedLine, FixedPlane)
#: A force is unchanged by a constraint to this part of the largest, or to what eight decimals leave (eV/Angstrom).
_SAME_PART, _SAME = 1e-6, 2e-8
#: A force that no direction leaves unchanged by chance.
_PROBE = np.array([1.0, 1.3, -0.8])


def held_atoms(atoms: Atoms, forces: np.ndarray | None) -> np.ndarray | None:
    """Find the atoms whose forces a constraint has changed.

    Args:
        atoms: With its constraints.
        forces: (N, 3), in any unit.

    Returns:
        (N,) bool, or None where there is none. An atom that is held in some directions only is held: the direction in
        which its force is missing is not a Cartesian axis in general.
    """
    if forces is None or not atoms.constraints:
        return None
    held = np.zeros(len(atoms), dtype=bool)
    limit = max(_SAME_PART * float(np.abs(forces).max(initial=0.0)), _SAME)
    for constraint in atoms.constraints:
        if isinstance(constraint, _HOLDING):
            index = np.atleast_1d(constraint.get_indices())
            changed, probe = np.array(forces, dtype=float), np.tile(_PROBE, (len(atoms), 1))
            try:
                constraint.adjust_forces(atoms, changed)
                constraint.adjust_forces(atoms, probe)
            except np.linalg.LinAlgError:  # directions of a cell that is none
                continue
            exact = isinstance(constraint, FixAtoms | FixCartesian)
            same = np.abs(changed - forces)[index].max(axis=1) <= (0.0 if exact else limit)
            # Extended XYZ with a mask of three columns gives every atom a constraint, most of which do nothing.
            acts = np.abs(probe - np.tile(_PROBE, (len(atoms), 1)))[index].max(axis=1) > 0.1
            held[index[same & acts]] = True
    return held if held.any() else None


def describe_held(frames: Sequence[Frame]) -> str | None:
    """One sentence on the forces that are no labels, or None where all are."""
    having = [frame for frame in frames if frame.held is not None and frame.held.any()]
    if not having:
        return None
    number, total = sum(int(frame.held.sum()) for frame in having), sum(len(frame.atoms) for frame in having)
    return (
        f"in {len(having)} frames the forces of fixed atoms are zero because of the constraint ({number} of {total} "
        f"atoms, first in frame {having[0].index}): they are not taken as labels"
    )
