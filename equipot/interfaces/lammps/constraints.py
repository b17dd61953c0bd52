"""The constraints of a structure as LAMMPS commands: groups of held atoms, their forces and velocities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian, FixConstraint, FixedLine, FixedPlane

from equipot.errors import UsageError

_KINDS = (FixAtoms, FixCartesian, FixedLine, FixedPlane)
_AXES = "xyz"
#: Largest deviation of a held direction from an axis of LAMMPS that is rounding.
_ROUNDING = 1e-6
#: Words in one `group` command; LAMMPS reads lines of any length, people do not.
_WORDS_A_LINE = 16


@dataclass(frozen=True)
class HeldAtoms:
    """What constraints hold.

    Attributes:
        held: (N, 3) whether an atom stays where it is along LAMMPS' x, y and z.
    """

    held: np.ndarray

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held."""
        return not self.held.any()

    @property
    def num_mobile(self) -> int:
        """Atoms that can move in some direction."""
        return int((~self.held.all(axis=1)).sum())

    def groups(self) -> str:
        """Commands that name the held atoms `held_x`, `held_xyz`, ... and the others `mobile`."""
        lines = ["# Constraints of the structure: atoms held along the directions in the name of their group."]
        for name, chosen in self._patterns():
            words = _ranges(np.flatnonzero(chosen) + 1)
            lines += [
                f"group {name} id {' '.join(words[k : k + _WORDS_A_LINE])}" for k in range(0, len(words), _WORDS_A_LINE)
            ]
        mobile = "subtract all held_xyz" if self.held.all(axis=1).any() else "union all"
        return "\n".join([*lines, f"group mobile {mobile}"])

    def forces(self) -> str:
        """Commands that take the forces along held directions away."""
        return "\n".join(f"fix {name} {name} setforce {self._values(name)}" for name, _ in self._patterns())

    def velocities(self) -> str:
        """Commands that take the velocities along held directions away."""
        return "\n".join(f"velocity {name} set {self._values(name)}" for name, _ in self._patterns())

    def _patterns(self) -> list[tuple[str, np.ndarray]]:
        found = []
        for pattern in np.unique(self.held[self.held.any(axis=1)], axis=0):
            name = "held_" + "".join(axis for axis, is_held in zip(_AXES, pattern, strict=True) if is_held)
            found.append((name, (self.held == pattern).all(axis=1)))
        return found

    @staticmethod
    def _values(name: str) -> str:
        return " ".join("0.0" if axis in name.removeprefix("held_") else "NULL" for axis in _AXES)


def find_held(atoms: Atoms, constraints: Sequence[FixConstraint], rotation: np.ndarray) -> HeldAtoms:
    """Find what the constraints of a structure hold in LAMMPS' orientation.

    Args:
        atoms: the structure.
        constraints: its constraints, directions in fractional coordinates as Cartesian ones.
        rotation: (3, 3); ``positions @ rotation`` are the positions in LAMMPS.

    Raises:
        UsageError: a constraint that LAMMPS' `fix setforce` cannot express; the message names it and what to do.
    """
    allowed = np.repeat(np.eye(3)[None], len(atoms), axis=0)  # by atom: row k is what is left of a motion along k
    for constraint in constraints:
        if type(constraint) not in _KINDS:
            raise UsageError(
                f"The structure carries the constraint {type(constraint).__name__}, which `equipot lammps input` "
                f"cannot write for LAMMPS; it writes {', '.join(kind.__name__ for kind in _KINDS)} and selective "
                "dynamics. Remove it from the structure, and add to in.lammps what stands for it (bonds and rigid "
                "groups: fix rattle, fix rigid; springs: fix spring, fix restrain)."
            )
        for axis in range(3):
            motion = np.ascontiguousarray(allowed[:, axis])
            constraint.adjust_forces(atoms, motion)
            allowed[:, axis] = motion
    turned = np.einsum("ja,njk,kb->nab", rotation, allowed, rotation)
    free = np.diagonal(turned, axis1=1, axis2=2)
    whole = np.round(free)
    wrong = np.abs(turned - whole[:, :, None] * np.eye(3)).max(axis=(1, 2)) > _ROUNDING
    if wrong.any():
        raise UsageError(
            f"Atom {int(np.argmax(wrong))} is held along a direction that is not x, y or z in LAMMPS, whose box has "
            "its first vector along x and the second in the xy plane; `fix setforce` cannot express that. Turn the "
            "cell so that the direction is an axis, or hold the atom entirely."
        )
    return HeldAtoms(whole < 0.5)


def _ranges(numbers: np.ndarray) -> list[str]:
    """Ascending IDs, runs of them as ``first:last``."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [f"{run[0]}" if len(run) == 1 else f"{run[0]}:{run[-1]}" for run in np.split(numbers, breaks)]
