"""Neighbour lists: which atoms are within the cutoff of which, exactly and in one reproducible order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from equipot.errors import UsageError
from equipot.graph.search import edges_allowed, find_pairs, too_many_edges
from equipot.graph.validation import check_distances, check_geometry

#: Edges a structure may have before it is refused (about 5 GB while the list is built).
MAX_EDGES = 50_000_000


@dataclass(frozen=True, eq=False)
class NeighborList:
    """Directed edges of a structure, sorted by centre, then neighbour, then shift.

    ``vector = positions[neighbor] - positions[center] + shift @ cell`` points from centre to neighbour. Unpacks as
    ``center, neighbor, shift``.

    Attributes:
        center: (E,) int64, atom i.
        neighbor: (E,) int64, atom j.
        shift: (E, 3) int64, lattice translation of j, for the positions as they were given (not wrapped).
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
        return NeighborList(self.center.take(index), self.neighbor.take(index), self.shift.take(index, axis=0),
                            distance.take(index))


def neighbor_list(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, *,
                  max_edges: int = MAX_EDGES, min_distance: float | None = None,
                  where: str = "structure") -> NeighborList:
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
        max_edges: Budget (and at most 20 000 an atom); an estimate is made before anything large is allocated.
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
    center, neighbor, shift = find_pairs(positions, cell, pbc, cutoff, max_edges=max_edges, where=where)
    distance = edge_distances(positions, center, neighbor, lattice_translations(shift, cell))
    keep = np.flatnonzero((distance < cutoff) & ((center != neighbor) | shift.any(axis=1)))
    if len(keep) > edges_allowed(len(positions), max_edges):
        raise too_many_edges(len(keep), "", len(positions), cutoff, max_edges, where)
    keep = keep[_order(center.take(keep), neighbor.take(keep), shift.take(keep, axis=0))]
    edges = NeighborList(center.take(keep), neighbor.take(keep), shift.take(keep, axis=0), distance.take(keep))
    if min_distance is not None:
        check_distances(edges.center, edges.neighbor, edges.distance, min_distance, where=where)
    return edges


def check_structure(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, *, min_distance: float | None = None,
                    where: str = "structure") -> None:
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


def edge_distances(positions: np.ndarray, center: np.ndarray, neighbor: np.ndarray,
                   translation: np.ndarray | None) -> np.ndarray:
    """Return the length of edge vectors, (E,) Å, given their lattice translations, (E, 3) Å."""
    vector = positions.take(neighbor, axis=0)
    vector -= positions.take(center, axis=0)
    if translation is not None:
        vector += translation
    return np.sqrt(np.einsum("ij,ij->i", vector, vector))


def _order(center: np.ndarray, neighbor: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the permutation that sorts edges by centre, neighbour, then shift."""
    if len(center) == 0:
        return np.zeros(0, dtype=np.int64)
    low, high = shift.min(axis=0), shift.max(axis=0)
    span = (high - low + 1).tolist()
    num_atoms = int(max(center.max(), neighbor.max())) + 1
    if num_atoms * num_atoms * span[0] * span[1] * span[2] < 2**62:  # one key is several times faster than five
        key = center * num_atoms + neighbor
        for axis in range(3):
            key = key * span[axis] + (shift[:, axis] - low[axis])
        return np.argsort(key, kind="stable")  # much faster than quicksort on keys almost in order
    return np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], neighbor, center))
