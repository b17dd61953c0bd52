"""Neighbour lists: which atoms are within the cutoff of which, exactly and in one reproducible order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from equipot.errors import UsageError
from equipot.graph.search import Frame, check_budget, exceeds_budget, find_pairs, make_frame, too_many_edges
from equipot.graph.validation import check_distances, check_geometry

#: Candidate pairs that the search in Python filters and sorts at once, where it can.
_CHUNK = 2_000_000


@dataclass(frozen=True, eq=False)
class NeighborList:
    """Directed edges of a structure, sorted by centre, then neighbour, then shift.

    ``vector = positions[neighbor] - positions[center] + shift @ cell`` points from centre to neighbour. Unpacks as
    ``center, neighbor, shift``.

    Attributes:
        center: (E,) int64, atom i.
        neighbor: (E,) int64, atom j.
        shift: (E, 3) int8, lattice translation of j, for the positions as they were given (not wrapped); int64 where
            a component is beyond 127.
        distance: (E,) float64, Å.
    """

    center: np.ndarray
    neighbor: np.ndarray
    shift: np.ndarray
    distance: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.center, self.neighbor, self.shift))

    def __len__(self) -> int:
        return len(self.center)

    def select(self, mask: np.ndarray, distance: np.ndarray | None = None) -> NeighborList:
        """Return the edges where ``mask`` (E,) holds, with ``distance`` (E,) in place of the present distances."""
        index = np.flatnonzero(mask)
        distance = self.distance if distance is None else distance
        return NeighborList(
            self.center.take(index), self.neighbor.take(index), self.shift.take(index, axis=0), distance.take(index)
        )


def neighbor_list(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    cutoff: float,
    *,
    max_edges: int | None = None,
    min_distance: float | None = None,
    where: str = "structure",
) -> NeighborList:
    """Find all pairs of atoms nearer than the cutoff, including periodic images of an atom itself.

    Works for molecules (any cell, also zero), wires, slabs and crystals, cells smaller than the cutoff, skewed and
    left-handed cells, sparse boxes up to 1e9 Å, and atoms outside the cell. A pair is in the list where
    ``distance < cutoff`` strictly, in float64, with the expression the model itself uses; (i, j, S) is in it exactly
    where (j, i, -S) is, and (i, i, 0) never.

    Args:
        positions: (N, 3), Å. Need not be wrapped; not changed.
        cell: (3, 3), Å, rows are lattice vectors. Rows along which ``pbc`` is False are not used.
        pbc: (3,) bool, or one bool for all.
        cutoff: Å.
        max_edges: Budget (and at most 20 000 an atom); an estimate is made before anything large is allocated. None:
            50 million, or as many as fit in half of the memory that is free.
        min_distance: Å; two atoms nearer than this are an error. None: any distance is accepted.
        where: What to call the structure in an error, e.g. ``"train.xyz frame 12"``.

    Returns:
        The edges, sorted by centre, neighbour and shift.

    Raises:
        StructureError: not finite, no volume, atoms too close, or more edges than the budget.
        UsageError: the cutoff is not a positive number.
    """
    positions, cell, pbc = as_geometry(positions, cell, pbc)
    cutoff = check_cutoff(cutoff)
    check_geometry(positions, cell, pbc, where=where)
    if len(positions) == 0:
        return _join([])
    frame = make_frame(positions, cell, pbc, cutoff, where=where)
    check_budget(positions, pbc, frame, max_edges, where)
    edges = _search_natively(positions, cell, pbc, cutoff, frame, max_edges, where)
    if edges is None:
        edges = _search_in_python(positions, cell, pbc, cutoff, frame)
        _check_number(len(edges), positions, cutoff, max_edges, where)
    if min_distance is not None:
        check_distances(edges.center, edges.neighbor, edges.distance, min_distance, where=where)
    return edges


def _search_natively(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    cutoff: float,
    frame: Frame,
    max_edges: int | None,
    where: str,
) -> NeighborList | None:
    """Return the list, or None where there are no native kernels or the structure is none for them."""
    # Here and not above: the kernels need e3nn, which takes a second to load and is not needed to read a file.
    from equipot.graph.native_search import count_edges
    from equipot.kernels.selection import native_library

    native = native_library()
    search = None if native is None else count_edges(native, positions, cell, pbc, cutoff, frame)
    if search is None:
        return None
    _check_number(search.num_edges, positions, cutoff, max_edges, where)
    return NeighborList(*search.fill())


def _search_in_python(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, frame: Frame
) -> NeighborList:
    pairs = find_pairs(positions, pbc, frame)
    num_pairs = len(pairs.center)
    # Chunks of whole centres, so that what is worked with is small beside the list.
    limits = [0, num_pairs]
    if pairs.is_sorted and num_pairs > _CHUNK:
        centers = pairs.center.take(np.arange(_CHUNK, num_pairs, _CHUNK))
        limits[1:1] = np.unique(np.searchsorted(pairs.center, centers)).tolist()
    return _join(
        [
            _filter_and_sort(positions, cell, cutoff, *(part[begin:end] for part in pairs[:3]))
            for begin, end in pairwise(limits)
        ]
    )


def _filter_and_sort(
    positions: np.ndarray, cell: np.ndarray, cutoff: float, center: np.ndarray, neighbor: np.ndarray, shift: np.ndarray
) -> NeighborList:
    distance = edge_distances(positions, center, neighbor, lattice_translations(shift, cell))
    keep = np.flatnonzero((distance < cutoff) & ((center != neighbor) | shift.any(axis=1)))
    center, neighbor = (part.take(keep).astype(np.int64) for part in (center, neighbor))
    shift, distance = _narrow(shift.take(keep, axis=0)), distance.take(keep)
    order = _order(center, neighbor, shift)
    return NeighborList(center.take(order), neighbor.take(order), shift.take(order, axis=0), distance.take(order))


def _narrow(shift: np.ndarray) -> np.ndarray:
    """Return shifts as int8, or int64 where one does not fit."""
    is_small = len(shift) == 0 or max(-int(shift.min()), int(shift.max())) <= 127
    return shift.astype(np.int8 if is_small else np.int64)


def _join(parts: list[NeighborList]) -> NeighborList:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return NeighborList(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int8), np.zeros(0))
    return NeighborList(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("center", "neighbor", "shift", "distance")
        )
    )


def _check_number(num_edges: int, positions: np.ndarray, cutoff: float, max_edges: int | None, where: str) -> None:
    if exceeds_budget(num_edges, len(positions), max_edges):
        raise too_many_edges(num_edges, "", len(positions), cutoff, max_edges, where)


def check_structure(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    *,
    min_distance: float | None = None,
    where: str = "structure",
) -> None:
    """Check that a potential can be evaluated on a structure: finite, periodic cell with a volume, no contacts.

    Args:
        positions: (N, 3), Å.
        cell: (3, 3), Å, rows are lattice vectors.
        pbc: (3,) bool, or one bool for all.
        min_distance: Å; two atoms (or images) nearer than this are an error. None: not tested.
        where: What to call the structure in an error.

    Raises:
        StructureError: names the structure and the atom at fault.
    """
    positions, cell, pbc = as_geometry(positions, cell, pbc)
    check_geometry(positions, cell, pbc, where=where)
    if min_distance is not None:
        neighbor_list(positions, cell, pbc, min_distance, min_distance=min_distance, where=where)


def check_cutoff(cutoff: float, name: str = "cutoff") -> float:
    """Return the cutoff as a float, or raise UsageError where it is not a positive finite number (Å)."""
    value = float(cutoff)
    if not 0.0 < value < np.inf:
        raise UsageError(f"the {name} should be a positive number of Å, found {cutoff!r}.")
    return value


def as_geometry(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions and cell as float64 and pbc as (3,) bool, without copying where nothing has to change."""
    pbc = np.asarray(pbc, dtype=bool)
    if pbc.ndim == 0:
        pbc = np.full(3, pbc)
    return np.asarray(positions, dtype=np.float64), np.asarray(cell, dtype=np.float64), pbc


def lattice_translations(shift: np.ndarray, cell: np.ndarray) -> np.ndarray | None:
    """Return ``shift @ cell``, (E, 3) Å, or None where no edge crosses a cell boundary."""
    if not shift.any():
        return None
    # Written out, in the order of AtomicGraph.edge_vectors: both have to agree to the last bit.
    shift = shift.astype(np.float64)
    return shift[:, 0:1] * cell[0] + shift[:, 1:2] * cell[1] + shift[:, 2:3] * cell[2]


def edge_distances(
    positions: np.ndarray, center: np.ndarray, neighbor: np.ndarray, translation: np.ndarray | None
) -> np.ndarray:
    """Return the length of edge vectors, (E,) Å, given their lattice translations, (E, 3) Å."""
    vector = positions.take(neighbor, axis=0)
    vector -= positions.take(center, axis=0)
    if translation is not None:
        vector += translation
    vector *= vector
    # Written out, in the order of csrc/geometry/neighbors.cpp.
    return np.sqrt(vector[:, 0] + vector[:, 1] + vector[:, 2])


def _order(center: np.ndarray, neighbor: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the permutation that sorts edges by centre, neighbour, then shift."""
    if len(center) == 0:
        return np.zeros(0, dtype=np.int64)
    low, high = shift.min(axis=0).astype(np.int64), shift.max(axis=0).astype(np.int64)
    span = (high - low + 1).tolist()
    num_atoms = int(max(center.max(), neighbor.max())) + 1
    if num_atoms * num_atoms * span[0] * span[1] * span[2] < 2**62:  # one key is several times faster than five
        key = center * num_atoms + neighbor
        for axis in range(3):
            key = key * span[axis] + (shift[:, axis] - low[axis])
        return np.argsort(key, kind="stable")  # much faster than quicksort on keys almost in order
    return np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], neighbor, center))
