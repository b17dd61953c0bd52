"""Whether two structures are the same but for a rotation, a mirror, a shift, the order of atoms and the choice of cell.

One atom and three of its neighbours are laid onto every atom and triple of the other structure with the same distances;
the isometry that follows must take every atom onto one of the same element, and every lattice vector onto a translation
that the other structure has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from equipot.data.fingerprints import signature
from equipot.graph import neighbor_list

#: Largest distance (Angstrom) between atoms that are to coincide.
TOLERANCE = 1e-3
#: Signatures of atoms that coincide so closely differ by less.
SAME_SIGNATURE = 4e-3
_MOST_TRIALS = 2000


@dataclass(frozen=True)
class Isometry:
    """How one structure lies on another.

    Attributes:
        rotation: (3, 3) matrix Q with ``positions_second = positions_first @ Q + shift`` up to order and lattice
            translations. A vector such as a force turns with Q.
        misfit: Largest distance (Angstrom) that is left between atoms that coincide, lattice translations included.
    """

    rotation: np.ndarray
    misfit: float


def find_isometry(
    first: Atoms, second: Atoms, signatures: tuple[np.ndarray, np.ndarray] | None = None, tolerance: float = TOLERANCE
) -> Isometry | None:
    """Find the isometry that takes one structure into the other.

    Args:
        first, second: Both periodic in the same number of directions. Cells may differ, one may be a supercell.
        signatures: Of the atoms of both (``survey.signature`` with one cutoff); default: worked out here.
        tolerance: Angstrom.

    Returns:
        The isometry, or None where there is none.
    """
    if int(np.sum(first.pbc)) != int(np.sum(second.pbc)) or not _same_composition(first, second):
        return None
    marks = signatures or tuple(_signature(atoms) for atoms in (first, second))
    if len(first) > len(second):  # the smaller one has fewer atoms to lay onto the other
        found = find_isometry(second, first, (marks[1], marks[0]), tolerance)
        return None if found is None else Isometry(found.rotation.T, found.misfit)
    if not _same_surroundings(*marks):
        return None
    target = _Target(second, tolerance)
    anchor, candidates = _anchor(*marks)
    directions = _directions(first, anchor)
    for origin, rotation in target.trials(candidates, directions):
        moved = (first.positions - first.positions[anchor]) @ rotation + origin
        misfits = [target.misfit(moved, first.numbers)]
        for vector in _lattice(first) @ rotation:  # moving all atoms by it must leave the other structure as it is
            if misfits[-1] is not None:
                misfits.append(target.misfit(second.positions + vector, second.numbers))
        if misfits[-1] is not None:
            return Isometry(rotation, max(misfits))
    return None


def _signature(atoms: Atoms, cutoff: float = 5.0) -> np.ndarray:
    found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    return signature(atoms.numbers, found, cutoff)


def _same_surroundings(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether every atom of each structure has its like in the other."""
    return all(
        float(cKDTree(there).query(here, p=np.inf)[0].max()) < SAME_SIGNATURE
        for here, there in ((first, second), (second, first))
    )


def _anchor(first: np.ndarray, second: np.ndarray) -> tuple[int, np.ndarray]:
    """The atom with the fewest that are like it in the other structure, and those."""
    like = cKDTree(second).query_ball_point(first, SAME_SIGNATURE, p=np.inf)
    anchor = min(range(len(first)), key=lambda k: len(like[k]))
    return anchor, np.array(sorted(like[anchor]))


def _same_composition(first: Atoms, second: Atoms) -> bool:
    one, two = (np.bincount(atoms.numbers, minlength=120) for atoms in (first, second))
    if not (one * len(second) == two * len(first)).all():
        return False
    if not np.any(first.pbc):
        return len(first) == len(second)
    if np.all(first.pbc):
        return bool(abs(first.cell.volume * len(second) / (second.cell.volume * len(first)) - 1.0) < 5e-3)
    return len(first) == len(second)


def _lattice(atoms: Atoms) -> np.ndarray:
    return atoms.cell.array[np.asarray(atoms.pbc)]


def _directions(atoms: Atoms, anchor: int) -> np.ndarray:
    """Up to three short independent vectors from an atom to others or to images, shortest first."""
    images = _images(atoms, 2 if len(atoms) < 10 else 1)
    vectors = (images[:, None] + atoms.positions - atoms.positions[anchor]).reshape(-1, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    chosen: list[np.ndarray] = []
    for k in order[lengths[order] > 0.1]:
        if _height(vectors[k], chosen) > 0.3 * lengths[k]:
            chosen.append(vectors[k])
            if len(chosen) == 3:
                break
    return np.array(chosen).reshape(-1, 3)


def _height(vector: np.ndarray, others: list[np.ndarray]) -> float:
    if not others:
        return float(np.linalg.norm(vector))
    basis = np.linalg.qr(np.array(others).T)[0]
    return float(np.linalg.norm(vector - basis @ (basis.T @ vector)))


def _images(atoms: Atoms, reach: int) -> np.ndarray:
    steps = [range(-reach, reach + 1) if periodic else (0,) for periodic in atoms.pbc]
    return np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3) @ atoms.cell.array


class _Target:
    """The structure the other is laid onto: its atoms and enough images in a tree."""

    def __init__(self, atoms: Atoms, tolerance: float):
        self.atoms, self.tolerance = atoms, tolerance
        self.lattice = _lattice(atoms)
        self.inverse = np.linalg.pinv(self.lattice) if len(self.lattice) else None
        home = self._wrapped(atoms.positions)
        images = _images(atoms, 1)
        self.points = (images[:, None] + home).reshape(-1, 3)
        self.numbers = np.tile(atoms.numbers, len(images))
        self.tree = cKDTree(self.points)
        self.home = home

    def _wrapped(self, positions: np.ndarray) -> np.ndarray:
        if self.inverse is None:
            return positions
        fractions = positions @ self.inverse
        return positions - np.floor(fractions + 1e-9) @ self.lattice

    def misfit(self, positions: np.ndarray, numbers: np.ndarray) -> float | None:
        """Largest distance to the atoms at these positions; None unless each is there, once and of its element."""
        distance, index = self.tree.query(self._wrapped(positions), distance_upper_bound=self.tolerance)
        if not np.isfinite(distance).all() or (self.numbers[index] != numbers).any():
            return None
        is_once = len(np.unique(index % len(self.atoms))) == len(positions)
        return float(distance.max()) if is_once else None

    def trials(self, candidates: np.ndarray, directions: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Isometries under which the anchor falls onto one of these atoms and its neighbours onto others."""
        if len(directions) == 0:
            yield from ((self.home[k], np.eye(3)) for k in candidates)
            return
        lengths = np.linalg.norm(directions, axis=1)
        slack = 2.0 * self.tolerance
        products = directions @ directions.T
        tried = 0
        for k in candidates:
            origin = self.home[k]
            near = self._around(origin, float(lengths.max()) + slack)
            sizes = np.linalg.norm(near, axis=1)
            shells = [near[np.abs(sizes - length) < slack] for length in lengths]
            for images in _consistent(shells, products, slack, lengths):
                tried += 1
                if tried > _MOST_TRIALS:
                    return
                for rotation in _orthogonal(directions, images):
                    yield origin, rotation

    def _around(self, origin: np.ndarray, radius: float) -> np.ndarray:
        if len(self.lattice):
            heights = 1.0 / np.linalg.norm(self.inverse, axis=0)
            reach = np.ceil(radius / heights).astype(int) + 1
            steps = np.stack(np.meshgrid(*(range(-n, n + 1) for n in reach), indexing="ij"), -1).reshape(-1, len(reach))
            points = ((steps @ self.lattice)[:, None] + self.home).reshape(-1, 3)
        else:
            points = self.home
        vectors = points - origin
        return vectors[np.sum(vectors**2, axis=1) < radius**2]


def _consistent(
    shells: list[np.ndarray], products: np.ndarray, slack: float, lengths: np.ndarray
) -> Iterator[np.ndarray]:
    """Tuples of vectors, one of each shell, with the wanted scalar products."""
    for one in shells[0]:
        if len(shells) == 1:
            yield one[None]
            continue
        seconds = shells[1][np.abs(shells[1] @ one - products[0, 1]) < slack * (lengths[0] + lengths[1])]
        for two in seconds:
            if len(shells) == 2:
                yield np.array([one, two])
                continue
            good = (np.abs(shells[2] @ one - products[0, 2]) < slack * (lengths[0] + lengths[2])) & (
                np.abs(shells[2] @ two - products[1, 2]) < slack * (lengths[1] + lengths[2])
            )
            for three in shells[2][good]:
                yield np.array([one, two, three])


def _orthogonal(source: np.ndarray, image: np.ndarray) -> Iterator[np.ndarray]:
    """Nearest orthogonal matrices Q with ``source @ Q = image``; both hands where the vectors do not span space."""
    left, _, right = np.linalg.svd(source.T @ image)
    yield left @ right
    if len(source) < 3:
        yield left @ np.diag([1.0, 1.0, -1.0]) @ right
