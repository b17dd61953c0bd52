"""What the energy of a frame should be, from the frames of its composition whose structures are nearest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

_NEIGHBORS, _MIN_FRAMES = 6, 6
#: Beyond so many spreads, and so many eV/atom, an energy is odd ...
_SPREADS, _SMALLEST = 10.0, 0.05
#: ... and beyond these it is so without a simple reason, where its neighbours are as near as neighbours are.
_MANY_SPREADS, _MANY_USUAL, _LARGE = 20.0, 10.0, 0.3


@dataclass(frozen=True)
class Neighborhood:
    """A frame among its like.

    Attributes:
        energy: eV/atom.
        expected, spread: Median of the nearest frames and their robust spread (eV/atom).
        count: How many they are.
        remoteness: Distance to them over the distances they have to theirs.
        usual: How far frames of this composition are from theirs, but for one in twenty (eV/atom).
    """

    energy: float
    expected: float
    spread: float
    count: int
    remoteness: float
    usual: float

    @property
    def is_odd(self) -> bool:
        """Whether the energy is far off."""
        return abs(self.energy - self.expected) > max(_SPREADS * self.spread, _SMALLEST)

    @property
    def is_very_odd(self) -> bool:
        """Whether it is so far off that it needs no further reason; frames unlike all others never are."""
        far = max(_MANY_SPREADS * self.spread, _MANY_USUAL * self.usual, _LARGE)
        return self.remoteness < 3.0 and abs(self.energy - self.expected) > far


def neighborhoods(
    energies: Mapping[int, float], formulas: Sequence[str], fingerprints: np.ndarray
) -> dict[int, Neighborhood]:
    """Find them for each frame of a composition that has at least six.

    Args:
        energies: Position -> eV/atom.
        formulas: Reduced formula by position.
        fingerprints: (frames, features).
    """
    by_formula: dict[str, list[int]] = defaultdict(list)
    for position in energies:
        by_formula[formulas[position]].append(position)
    found: dict[int, Neighborhood] = {}
    for members in by_formula.values():
        if len(members) < _MIN_FRAMES:
            continue
        points = fingerprints[members]
        values = np.array([energies[position] for position in members])
        count = min(_NEIGHBORS, len(members) - 1)
        distances, nearest = cKDTree(points).query(points, k=count + 1)
        near = np.array([[k for k in row if k != place][:count] for place, row in enumerate(nearest)])
        around = values[near]
        middle = np.median(around, axis=1)
        apart = np.abs(around - middle[:, None])
        # One lucky coincidence must not make the spread zero: half the range of the inner neighbours at least.
        spread = np.maximum(1.4826 * np.median(apart, axis=1), 0.5 * np.sort(apart, axis=1)[:, -2])
        usual = float(np.percentile(np.abs(values - middle), 95.0)) if len(members) >= 20 else 0.0
        reach = distances[:, -1]
        remoteness = reach / np.maximum(np.median(reach[near], axis=1), 1e-12)
        for place, position in enumerate(members):
            found[position] = Neighborhood(
                *map(float, (values[place], middle[place], spread[place])), count, float(remoteness[place]), usual
            )
    return found
