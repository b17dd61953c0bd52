"""A handful of training structures that a model file keeps, so that the model can be checked where it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms

from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import CheckpointError

#: Key of a model file's metadata.
KEY = "training_structures"
#: Structures, atoms of each, and atoms in all that are kept at most: some ten kilobytes of text.
_MOST, _MOST_ATOMS, _MOST_ATOMS_IN_ALL = 12, 250, 500
#: Decimals (Angstrom).
_DECIMALS = 4


def choose_examples(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Small frames that between them show as many pairs of elements and kinds of frames as can be.

    Geometry alone is kept, no label: ``symbols``, ``positions`` (N, 3) and ``cell`` (3, 3) in Angstrom (None where
    there is none), ``pbc``.

    Args:
        frames: of the training; the lowest in energy per atom of the most frequent composition is always among those
            kept, since simulations start from it.
    """
    usable = [frame for frame in frames if not is_isolated_atom(frame) and 0 < len(frame.atoms) <= _MOST_ATOMS]
    if not usable:
        return []
    chosen = [_lowest(usable)]
    covered = set(_shown(chosen[0]))
    smallest: dict[frozenset[Any], Frame] = {}  # of the frames that show the same
    for frame in sorted(usable, key=lambda frame: len(frame.atoms)):
        smallest.setdefault(_shown(frame), frame)
    left, shown = list(smallest.values()), list(smallest)
    while len(chosen) < _MOST:
        room = _MOST_ATOMS_IN_ALL - sum(len(frame.atoms) for frame in chosen)
        gains = [
            len(new - covered) / len(frame.atoms) if len(frame.atoms) <= room else 0.0
            for frame, new in zip(left, shown)
        ]
        best = int(np.argmax(gains))
        if gains[best] == 0.0:
            break
        chosen.append(left[best])
        covered |= shown[best]
    return [_plain(frame.atoms) for frame in chosen]


def _lowest(frames: Sequence[Frame]) -> Frame:
    by_composition: dict[tuple[int, ...], list[Frame]] = {}
    for frame in frames:
        numbers, counts = np.unique(frame.atoms.numbers, return_counts=True)
        key = (*numbers.tolist(), *(counts // np.gcd.reduce(counts)).tolist())
        by_composition.setdefault(key, []).append(frame)
    members = max(by_composition.values(), key=len)
    labelled = [frame for frame in members if frame.has("energy")]
    if not labelled:
        return min(members, key=lambda frame: len(frame.atoms))
    return min(labelled, key=lambda frame: frame.energy / len(frame.atoms))


def _shown(frame: Frame) -> frozenset[Any]:
    """What there is to see in a frame: pairs of elements, its config_type, which directions repeat, more than a few
    atoms."""
    pairs = set(combinations_with_replacement(sorted(set(frame.atoms.symbols)), 2))
    return frozenset(pairs | {frame.config_type, tuple(frame.atoms.pbc.tolist()), len(frame.atoms) > 3})


def _plain(atoms: Atoms) -> dict[str, Any]:
    return {
        "symbols": str(atoms.symbols),
        "positions": np.round(atoms.positions, _DECIMALS).tolist(),
        "cell": np.round(atoms.cell.array, _DECIMALS).tolist() if atoms.cell.rank else None,
        "pbc": atoms.pbc.tolist(),
    }


def read_examples(metadata: Mapping[str, Any]) -> list[Frame]:
    """The structures kept in a model file's metadata, without labels; none in files that keep none.

    Raises:
        CheckpointError: what the metadata hold under their name are no structures.
    """
    frames = []
    for number, entry in enumerate(metadata.get(KEY) or []):
        try:
            atoms = Atoms(entry["symbols"], np.asarray(entry["positions"], dtype=float).reshape(-1, 3))
            if entry["cell"] is not None:
                atoms.set_cell(np.asarray(entry["cell"], dtype=float).reshape(3, 3))
            atoms.pbc = np.asarray(entry["pbc"], dtype=bool).reshape(3)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{KEY} {number} of the model's metadata is no structure ({error}).") from None
        frames.append(Frame(atoms, source=f"training structure {number}", index=number))
    return frames
