"""Where a crystal can be cut parallel to a plane: the gaps between its atomic planes and the faces they leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.formula import Formula

#: Angstrom: atoms whose heights differ by less lie in one plane (buckled planes are not cut through).
SAME_PLANE = 0.1
#: Angstrom: gaps that differ by less are the same.
_SAME_GAP = 0.01


@dataclass(frozen=True)
class Cut:
    """One place to cut a crystal that is periodic along z.

    Attributes:
        height: of the middle of the gap (Angstrom).
        gap: between the planes below and above (Angstrom).
        below, above: composition of those planes (``SrO``).
        sequence: planes and gaps of one period from the cut upwards; two cuts with the same one are the same cut, and
            one that reads the same backwards leaves two equal faces.
    """

    height: float
    gap: float
    below: str
    above: str
    sequence: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """``between Si and Si 2.35 A apart``."""
        return f"between {self.below} and {self.above} {self.gap:.2f} A apart"

    @property
    def has_equal_faces(self) -> bool:
        """Whether both faces show the same planes, read inwards."""
        names, gaps = zip(*self.sequence)
        return names == names[::-1] and gaps[:-1] == gaps[:-1][::-1]


def find_cuts(atoms: Atoms) -> list[Cut]:
    """Return the distinct cuts of a cell whose third vector alone has a z component, in the order of their heights.

    A cut and its mirror image are one: a slab of whole periods has the same two faces either way up.
    """
    period = float(atoms.cell.array[2, 2])
    heights = atoms.positions[:, 2] % period
    order = np.argsort(heights, kind="stable")
    ordered = heights[order]
    splits = np.flatnonzero(np.diff(ordered) > SAME_PLANE) + 1
    members = np.split(order, splits)
    if len(members) > 1 and ordered[0] + period - ordered[-1] <= SAME_PLANE:  # one plane on the border of the cell
        heights[members[0]] += period
        members = [*members[1:-1], np.concatenate([members[-1], members[0]])]
    middles = np.array([heights[part].mean() for part in members])
    names = [_composition(atoms, part) for part in members]
    gaps = np.diff(np.append(middles, middles[0] + period))
    number, found, seen = len(members), [], set()
    for index in range(number):
        turned = [(index + 1 + step) % number for step in range(number)]
        sequence = tuple((names[k], round(gaps[k] / _SAME_GAP)) for k in turned)
        backwards = tuple((names[k], round(gaps[k - 1] / _SAME_GAP)) for k in reversed(turned))
        keys = {_rounded(sequence), _rounded(backwards)}
        if keys & seen:
            continue
        seen |= keys
        above = names[turned[0]]
        height = float(middles[index] + 0.5 * gaps[index])
        found.append(Cut(height, float(gaps[index]), names[index], above, sequence))
    return found


def _rounded(sequence: tuple[tuple[str, int], ...]) -> tuple:
    """A sequence that compares equal where the rounding of gaps fell to different sides."""
    return tuple((name, (gap + 1) // 3) for name, gap in sequence)


def _composition(atoms: Atoms, part: np.ndarray) -> str:
    return Formula("".join(atoms[int(i)].symbol for i in part)).reduce()[0].format("metal")
