"""Fingerprints of structures and signatures of atoms: numbers that equal structures share however they are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers

from equipot.graph import NeighborList

#: Bins of distance (Angstrom) of the fingerprint, up to its cutoff.
_BIN = 0.25
#: Pairs of elements told apart; beyond this they share channels.
_MOST_CHANNELS = 10
#: Decay lengths (Angstrom) of an atom's signature.
_DECAYS = (0.7, 1.2, 2.5)


def signature(numbers: np.ndarray, found: NeighborList, cutoff: float) -> np.ndarray:
    """Three numbers per atom, (N, 3), that equal surroundings share: smooth in distances, odd in the elements."""
    weights = (1.0 + 0.1 * np.sin(1.7 * numbers[found.neighbor])) * (1.0 - (found.distance / cutoff) ** 2) ** 2
    columns = [
        np.bincount(found.center, weights * np.exp(-(found.distance - 2.0) / decay), len(numbers)) for decay in _DECAYS
    ]
    return np.stack(columns, axis=1) + numbers[:, None]


class FingerprintBasis:
    """What the fingerprints of a set of frames have in common: pairs of elements and bins of distance.

    Args:
        elements: All symbols in the frames; fingerprints compare only for the same elements in the same order.
        cutoff: Angstrom.

    Attributes:
        size: Length of a fingerprint.
        pair_of: (elements, elements) number of each pair.
    """

    def __init__(self, elements: Sequence[str], cutoff: float):
        self.cutoff = cutoff
        self._index_of = np.full(max((atomic_numbers[symbol] for symbol in elements), default=0) + 1, -1)
        for place, symbol in enumerate(elements):
            self._index_of[atomic_numbers[symbol]] = place
        count = len(elements)
        number = np.arange(count)
        self.pair_of = np.minimum.outer(number, number) * count + np.maximum.outer(number, number)
        pairs = np.unique(self.pair_of)
        self._channel_of = np.zeros(count * count, dtype=np.int64)
        # A few pairs each have their own channel; many share them, spread in a fixed way.
        self._channel_of[pairs] = (
            np.arange(len(pairs)) if len(pairs) <= _MOST_CHANNELS else (np.arange(len(pairs)) * 7919) % _MOST_CHANNELS
        )
        self._num_bins = int(np.ceil(cutoff / _BIN)) + 1
        self.size = min(len(pairs), _MOST_CHANNELS) * self._num_bins

    def kinds(self, numbers: np.ndarray) -> np.ndarray:
        """Place of each atom's element among the elements."""
        return self._index_of[numbers]

    def fingerprint(self, distance: np.ndarray, pairs: np.ndarray, num_atoms: int) -> np.ndarray:
        """Mean over atoms of smooth functions of the distances to neighbours.

        Args:
            distance: (P,) Angstrom, of all pairs within the cutoff.
            pairs: (P,) number of each pair of elements, from ``pair_of``.
            num_atoms: Atoms in the structure.
        """
        fading = (1.0 - (distance / self.cutoff) ** 2) ** 2
        place = distance / _BIN
        left = place.astype(np.int64)
        part = place - left
        base = self._channel_of[pairs] * self._num_bins + left
        return (
            np.bincount(base, fading * (1.0 - part), self.size + 1)[: self.size]
            + np.bincount(base + 1, fading * part, self.size + 1)[: self.size]
        ) / num_atoms
