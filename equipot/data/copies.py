"""Which frames are one structure but for a rotation, a mirror, a shift, the order of atoms and the choice of cell.

Candidates are the nearest in a few random projections of the fingerprints, so the work is n log n however alike the
frames are. Each structure has a first frame that the others are held against: copies of copies do not add up, so frames
of a dense scan, each within the tolerance of the next, do not all become one structure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from scipy.spatial import cKDTree

from equipot.data.equivalence import SAME_SIGNATURE, find_isometry
from equipot.data.fingerprints import FingerprintBasis, signature
from equipot.data.frames import Frame
from equipot.data.geometry_hash import RESOLUTION, geometry_hash
from equipot.data.isolated import is_isolated_atom
from equipot.elements import sorted_symbols
from equipot.errors import StructureError
from equipot.graph import neighbor_list

#: Angstrom, of the neighbour lists that structures are told apart by.
CUTOFF = 5.0
#: Largest difference of one component of two fingerprints that may be the same structure.
_NEAR = 4e-3
#: Candidates looked at for one frame, how many of them (the nearest) are laid onto it, and numbers each fingerprint is
#: projected to for finding them.
_MOST_CANDIDATES, _MOST_TESTS, _PROJECTED = 16, 4, 6
_MAX_PAIRS = 5_000_000
#: Distance (Angstrom) within which positions with the same hash lie.
_ROUNDED = 3**0.5 * RESOLUTION

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Copy:
    """That a frame is another one.

    Attributes:
        of: Position of the frame it repeats.
        is_exact: Whether it does so without turning or renumbering.
        misfit: Distance (Angstrom) up to which atoms may lie apart.
    """

    of: int
    is_exact: bool
    misfit: float


@dataclass
class Prints:
    """What frames are compared by, one of each per frame.

    Attributes:
        fingerprints: (frames, features); zeros where nothing is known but the hash.
        signatures: (atoms, 3) of each frame, or None.
        hashes: Geometry hashes.
    """

    fingerprints: np.ndarray
    signatures: list[np.ndarray | None]
    hashes: list[str]

    def at(self, positions: Sequence[int]) -> Prints:
        """The prints of some of the frames."""
        return Prints(
            self.fingerprints[list(positions)],
            [self.signatures[position] for position in positions],
            [self.hashes[position] for position in positions],
        )


def take_prints(
    frames: Sequence[Frame], elements: Sequence[str], *, cutoff: float = CUTOFF, progress: Progress | None = None
) -> Prints:
    """Take the prints of frames.

    Args:
        frames: Any; isolated atoms and frames with too many neighbours to list are known by their hashes alone.
        elements: All symbols in these frames and in those they are to be compared with, in one order.
        cutoff: Angstrom.
        progress: Called with (what, done, total).
    """
    basis = FingerprintBasis(elements, cutoff)
    prints = Prints(np.zeros((len(frames), basis.size)), [None] * len(frames), [])
    for position, frame in enumerate(frames):
        if progress is not None and position % 50 == 0:
            progress("looking for copies", position, len(frames))
        prints.hashes.append(geometry_hash(frame.atoms))
        if len(frame.atoms) == 0 or is_isolated_atom(frame):
            continue
        atoms = frame.atoms
        try:
            found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, max_edges=_MAX_PAIRS)
        except StructureError:
            continue
        kinds = basis.kinds(atoms.numbers)
        pairs = basis.pair_of[kinds[found.center], kinds[found.neighbor]]
        prints.fingerprints[position] = basis.fingerprint(found.distance, pairs, len(atoms))
        prints.signatures[position] = signature(atoms.numbers, found, cutoff)
    if progress is not None:
        progress("looking for copies", len(frames), len(frames))
    return prints


def elements_of(*parts: Sequence[Frame]) -> tuple[str, ...]:
    """All symbols in the frames."""
    numbers = {number for frames in parts for frame in frames for number in np.unique(frame.atoms.numbers).tolist()}
    return sorted_symbols(chemical_symbols[number] for number in numbers)


def find_copies(frames: Sequence[Frame], prints: Prints) -> dict[int, Copy]:
    """Find the frames that repeat an earlier one.

    Returns:
        Position -> the first frame of that structure. Where more frames than can be looked at lie within the tolerance
        (dense scans, cold dynamics), only those that agree most closely are found.
    """
    found: dict[int, Copy] = {}
    first: dict[str, int] = {}
    for position, value in enumerate(prints.hashes):
        if len(frames[position].atoms) and not is_isolated_atom(frames[position]):
            if value in first:
                found[position] = Copy(first[value], True, _ROUNDED)
            else:
                first[value] = position
    exact = dict(found)
    for members in _alike(frames, prints, list(first.values())).values():
        _merge(frames, prints, members, found)
    return {position: _resolved(position, found, exact) for position in sorted(found)}


def find_copies_across(
    frames: Sequence[Frame], prints: Prints, others: Sequence[Frame], other_prints: Prints
) -> dict[int, Copy]:
    """Find the frames of another set that repeat one of the first: position in ``others`` -> the frame it is."""
    first = {value: place for place, value in reversed(list(enumerate(prints.hashes)))}
    found: dict[int, Copy] = {}
    rest: list[int] = []
    for position, value in enumerate(other_prints.hashes):
        if len(others[position].atoms) == 0 or is_isolated_atom(others[position]):
            continue
        if value in first:
            found[position] = Copy(first[value], True, _ROUNDED)
        else:
            rest.append(position)
    here, there = _alike(frames, prints, list(first.values())), _alike(others, other_prints, rest)
    for kind in here.keys() & there.keys():
        known, asked = here[kind], there[kind]
        projection = _projection(prints.fingerprints.shape[1])
        tree = cKDTree(prints.fingerprints[known] @ projection)
        points = other_prints.fingerprints[asked]
        for position, candidates in zip(asked, _nearest(tree, prints.fingerprints[known], points, projection)):
            for place in candidates[:_MOST_TESTS]:
                one = known[place]
                misfit = _misfit(frames[one], others[position], prints.signatures[one], other_prints, position)
                if misfit is not None:
                    found[position] = Copy(one, False, misfit)
                    break
    return dict(sorted(found.items()))


def _alike(frames: Sequence[Frame], prints: Prints, positions: Sequence[int]) -> Mapping[tuple, list[int]]:
    """Positions by reduced composition and number of periodic directions; frames without a fingerprint are left out."""
    groups: dict[tuple, list[int]] = defaultdict(list)
    for position in positions:
        if prints.fingerprints[position].any():
            numbers, counts = np.unique(frames[position].atoms.numbers, return_counts=True)
            counts = counts // np.gcd.reduce(counts)
            groups[numbers.tobytes(), counts.tobytes(), int(frames[position].atoms.pbc.sum())].append(position)
    return groups


def _merge(frames: Sequence[Frame], prints: Prints, members: Sequence[int], found: dict[int, Copy]) -> None:
    """Hold each frame against the earlier ones nearest to it, again until no two first frames are one structure."""
    active, different = list(members), set()
    projection = _projection(prints.fingerprints.shape[1])
    while len(active) > 1:
        points = prints.fingerprints[active]
        tree = cKDTree(points @ projection)
        before = len(found)
        for place, candidates in enumerate(_nearest(tree, points, points, projection)):
            later = active[place]
            earlier = dict.fromkeys(_first(active[candidate], found) for candidate in candidates if candidate < place)
            untried = [one for one in earlier if (one, later) not in different]
            for one in untried[:_MOST_TESTS]:
                misfit = _misfit(frames[one], frames[later], prints.signatures[one], prints, later)
                if misfit is not None:
                    found[later] = Copy(one, False, misfit)
                    break
                different.add((one, later))
        # Among many copies the nearest may all be later ones: those then have first frames that are copies themselves.
        if len(found) == before or len(active) <= _MOST_CANDIDATES:
            return
        active = [position for position in active if position not in found]


def _nearest(tree: cKDTree, points: np.ndarray, asked: np.ndarray, projection: np.ndarray) -> list[list[int]]:
    """For each of the asked fingerprints the places of those near it, nearest first."""
    count = min(_MOST_CANDIDATES, len(points))
    # A projection of unit columns makes no distance larger than it is.
    reach = _NEAR * np.sqrt(points.shape[1] * projection.shape[1])
    _, near = tree.query(asked @ projection, k=[*range(1, count + 1)], distance_upper_bound=reach)
    result = []
    for point, row in zip(asked, near):
        row = row[row < len(points)]
        distance = np.abs(points[row] - point).max(axis=1)
        keep = distance < _NEAR
        result.append(row[keep][np.lexsort((row[keep], distance[keep]))].tolist())
    return result


def _projection(size: int) -> np.ndarray:
    """(size, 6) fixed directions, each of unit length."""
    directions = np.random.Generator(np.random.PCG64(0)).standard_normal((size, _PROJECTED))
    return directions / np.linalg.norm(directions, axis=0)


def _misfit(one: Frame, two: Frame, one_signature: np.ndarray | None, prints: Prints, position: int) -> float | None:
    signatures = one_signature, prints.signatures[position]
    if len(one.atoms) == len(two.atoms):
        # Atoms that match have signatures that match; so do these then in ascending order, which is cheaper to see.
        apart = np.abs(np.sort(signatures[0], axis=0) - np.sort(signatures[1], axis=0))
        if apart.max() > SAME_SIGNATURE:
            return None
    isometry = find_isometry(one.atoms, two.atoms, signatures)
    return None if isometry is None else isometry.misfit


def _first(position: int, found: Mapping[int, Copy]) -> int:
    while position in found:
        position = found[position].of
    return position


def _resolved(position: int, found: Mapping[int, Copy], exact: Mapping[int, Copy]) -> Copy:
    """The copy of the first frame of all, with the misfits on the way to it."""
    copy, is_exact, misfit = found[position], position in exact, found[position].misfit
    while copy.of in found:
        copy = found[copy.of]
        is_exact, misfit = False, misfit + copy.misfit
    return Copy(copy.of, is_exact, misfit)
