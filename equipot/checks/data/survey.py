"""One pass over all frames with one neighbour list each: distances, neighbours, fragments, images, fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import covalent_radii
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from equipot.data.fingerprints import FingerprintBasis, signature
from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import StructureError
from equipot.graph import neighbor_list

_MAX_PAIRS = 5_000_000


@dataclass(frozen=True)
class Contact:
    """The worst pair of atoms of a frame: distance (Angstrom) over the sum of covalent radii, and who they are."""

    ratio: float
    distance: float
    atoms: tuple[int, int]


@dataclass
class Survey:
    """What the pass found, by position of the frame.

    Attributes:
        cutoff: Angstrom.
        too_dense: Frames whose pairs are too many to list -> why. Nothing else is known of them.
        contacts: Worst contact of each frame, or None.
        lonely: Frame -> atoms without a neighbour within the cutoff.
        fragments: Frame -> number of parts farther apart than the cutoff, where more than one.
        image_share: Fraction of neighbours that are images of the atom itself.
        neighbor_counts: Element -> neighbours of its atoms within the cutoff, of all frames.
        closest: (element, element) -> smallest distance (Angstrom).
        fingerprints: (frames, features): means over atoms of smooth functions of distances. The same for rotated,
            shifted and mirrored structures, other orders of atoms, other cells and supercells.
        signatures: Of each frame (atoms, 3): smooth functions of the distances and elements around each atom.
    """

    cutoff: float
    too_dense: dict[int, str] = field(default_factory=dict)
    contacts: list[Contact | None] = field(default_factory=list)
    lonely: dict[int, np.ndarray] = field(default_factory=dict)
    fragments: dict[int, int] = field(default_factory=dict)
    image_share: np.ndarray = field(default_factory=lambda: np.zeros(0))
    neighbor_counts: dict[str, np.ndarray] = field(default_factory=dict)
    closest: dict[tuple[str, str], float] = field(default_factory=dict)
    fingerprints: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    signatures: list[np.ndarray | None] = field(default_factory=list)


def survey_frames(
    frames: Sequence[Frame], cutoff: float, elements: Sequence[str], progress: Callable[[str, int, int], None]
) -> Survey:
    """Look at every frame once.

    Args:
        frames: In the order of their positions.
        cutoff: Angstrom.
        elements: All symbols in the frames.
        progress: Called with (what, done, total).
    """
    pass_ = _Pass(cutoff, elements, len(frames))
    for position, frame in enumerate(frames):
        if position % 20 == 0:
            progress("measuring distances", position, len(frames))
        pass_.look(position, frame)
    progress("measuring distances", len(frames), len(frames))
    return pass_.finish()


class _Pass:
    """What is gathered on the way."""

    def __init__(self, cutoff: float, elements: Sequence[str], num_frames: int):
        self.survey = Survey(
            cutoff, contacts=[None] * num_frames, signatures=[None] * num_frames, image_share=np.zeros(num_frames)
        )
        self.symbols = list(elements)
        self.basis = FingerprintBasis(elements, cutoff)
        count = len(elements)
        self.smallest = np.full(count * count, np.inf)
        self.counts: list[list[np.ndarray]] = [[] for _ in elements]
        self.fingerprints = np.zeros((num_frames, self.basis.size))

    def look(self, position: int, frame: Frame) -> None:
        atoms = frame.atoms
        if is_isolated_atom(frame):
            return
        try:
            found = neighbor_list(
                atoms.positions,
                atoms.cell.array,
                atoms.pbc,
                self.survey.cutoff,
                max_edges=_MAX_PAIRS,
                where=frame.source,
            )
        except StructureError as error:
            self.survey.too_dense[position] = str(error)
            return
        kinds = self.basis.kinds(atoms.numbers)
        number = np.bincount(found.center, minlength=len(atoms))
        for kind in np.unique(kinds):
            self.counts[kind].append(number[kinds == kind])
        self._connections(position, found, number)
        self.survey.signatures[position] = signature(atoms.numbers, found, self.survey.cutoff)
        if len(found) == 0:
            return
        self.survey.image_share[position] = float(np.mean(found.center == found.neighbor))
        first, second = kinds[found.center], kinds[found.neighbor]
        pairs = self.basis.pair_of[first, second]
        for pair in np.unique(pairs):
            self.smallest[pair] = min(self.smallest[pair], found.distance[pairs == pair].min())
        radii = covalent_radii[atoms.numbers]
        ratio = found.distance / (radii[found.center] + radii[found.neighbor])
        worst = int(ratio.argmin())
        self.survey.contacts[position] = Contact(
            float(ratio[worst]), float(found.distance[worst]), (int(found.center[worst]), int(found.neighbor[worst]))
        )
        self.fingerprints[position] = self.basis.fingerprint(found.distance, pairs, len(atoms))

    def _connections(self, position: int, found, number: np.ndarray) -> None:
        if len(number) < 2:
            return
        lonely = np.flatnonzero(number == 0)
        if len(lonely):
            self.survey.lonely[position] = lonely
        if number.min() > len(number) // 2 and not len(lonely):
            return  # so many neighbours that nothing can be apart
        links = coo_matrix((np.ones(len(found), dtype=bool), (found.center, found.neighbor)), (len(number),) * 2)
        parts = connected_components(links, directed=False, return_labels=False)
        if parts > 1:
            self.survey.fragments[position] = int(parts)

    def finish(self) -> Survey:
        survey, count = self.survey, len(self.symbols)
        survey.neighbor_counts = {
            symbol: np.concatenate(found) for symbol, found in zip(self.symbols, self.counts) if found
        }
        survey.closest = {
            (self.symbols[pair // count], self.symbols[pair % count]): float(self.smallest[pair])
            for pair in np.flatnonzero(np.isfinite(self.smallest))
        }
        survey.fingerprints = self.fingerprints
        return survey
