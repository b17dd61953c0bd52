"""A neighbour list for moving atoms, rebuilt only when a pair could have come within the cutoff (Verlet's skin).

Source: L. Verlet, Phys. Rev. 159, 98 (1967). The rule used here also covers changes of the cell (barostats, cell
relaxation), see ``VerletList.update``.
"""

from __future__ import annotations

import math

import numpy as np

from equipot.errors import UsageError
from equipot.graph.neighbors import (
    NeighborList,
    as_geometry,
    check_cutoff,
    edge_distances,
    lattice_translations,
    neighbor_list,
)
from equipot.graph.validation import check_distances, check_geometry


class VerletList:
    """Neighbour lists along a trajectory: the same edges, in the same order, as a fresh list at every step.

    A list with radius ``cutoff + skin`` is kept. :meth:`update` returns those of its edges that are within the cutoff
    at the present geometry; :meth:`stored` returns the kept list itself, for callers that weigh each edge by a function
    that is zero beyond the cutoff and need no work on edges here. Atoms wrapped into the cell between calls count as
    having moved far, so the list is rebuilt and its shifts refer to the new positions.

    Args:
        cutoff: Å.
        skin: Å; 0 rebuilds at every change.
        min_distance: Å; two atoms nearer than this are an error. None: any distance is accepted.
        max_edges: Budget of the kept list; None: as in ``neighbor_list``.
        where: What to call the structure in an error.

    Attributes:
        num_builds: How many times a list was built; what was made from ``stored`` is out of date when it changes.
    """

    def __init__(
        self,
        cutoff: float,
        skin: float = 0.5,
        *,
        min_distance: float | None = None,
        max_edges: int | None = None,
        where: str = "structure",
    ) -> None:
        self.cutoff = check_cutoff(cutoff)
        self.skin = float(skin)
        if not 0.0 <= self.skin < np.inf:
            raise UsageError(f"the skin should be zero or a positive number of Å, found {skin!r}.")
        self.min_distance, self.max_edges, self.where = min_distance, max_edges, where
        self.num_builds = 0
        self._kept: NeighborList | None = None

    def reset(self) -> None:
        """Forget the kept list; the next update builds one."""
        self._kept = None

    def update(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> NeighborList:
        """Return the edges of the present geometry; arguments and errors as in ``neighbor_list``.

        The kept list is complete as long as no pair now within the cutoff was beyond ``cutoff + skin`` when it was
        built. With the strain F that carries the old lattice to the new one and the displacements u of atoms beyond
        it, a pair at distance d now was at most ``|F^-1| (d + 2 max|u|)`` apart then (spectral norm).
        """
        positions, cell, pbc = as_geometry(positions, cell, pbc)
        if not self._is_complete(positions, cell, pbc):
            self._build(positions, cell, pbc)
            distance = self._kept.distance
        else:
            if self._translated_cell is None or not np.array_equal(cell, self._translated_cell):
                self._translation, self._translated_cell = lattice_translations(self._kept.shift, cell), np.array(cell)
            distance = edge_distances(positions, self._kept.center, self._kept.neighbor, self._translation)
        edges = self._kept.select(distance < self.cutoff, distance)
        if self.min_distance is not None:
            check_distances(edges.center, edges.neighbor, edges.distance, self.min_distance, where=self.where)
        return edges

    def stored(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> NeighborList:
        """Return the kept list, within ``cutoff + skin`` when it was built, complete for the present geometry.

        It is the same object until ``num_builds`` changes. Its ``distance`` is that of the geometry it was built for,
        and the distances now are not compared with ``min_distance``: who computes them has to.
        """
        positions, cell, pbc = as_geometry(positions, cell, pbc)
        if not self._is_complete(positions, cell, pbc):
            self._build(positions, cell, pbc)
        return self._kept

    def _build(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        self.reset()  # the memory of the old list is free for the new one
        self._kept = neighbor_list(
            positions, cell, pbc, self.cutoff + self.skin, max_edges=self.max_edges, where=self.where
        )
        self.num_builds += 1
        self._positions, self._cell, self._pbc = np.array(positions), np.array(cell), np.array(pbc)
        self._geometry_key = _key(positions, cell, pbc)
        # Leave room for rounding: a pair lost by one unit in the last place would still be a lost pair.
        rounding = 1e-9 + 1e-13 * (float(np.abs(positions).max(initial=0.0)) + self.skin)
        self._free_path = 0.5 * (self.skin - rounding)
        self._displacement = np.empty_like(self._positions)
        self._translation, self._translated_cell = None, None

    def _is_complete(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        """Whether no pair can have come within the cutoff that the kept list lacks; False where a check is due."""
        if self._kept is None:
            return False
        if _key(positions, cell, pbc) == self._geometry_key:
            # A position that is not finite, or not of sensible size, fails the comparison and comes to be checked.
            return self._farthest(positions, self._positions) <= self._free_path
        if positions.shape != self._positions.shape or not np.array_equal(pbc, self._pbc):
            return False
        check_geometry(positions, cell, pbc, where=self.where)
        strain = np.linalg.solve(_complete(self._cell, pbc), _complete(cell, pbc))
        stretch = 1.0 / np.linalg.svd(strain, compute_uv=False)[-1]
        farthest = self._farthest(positions, self._positions @ strain)
        rounding = 1e-9 + 1e-13 * float(np.abs(positions).max(initial=0.0))
        return stretch * (self.cutoff + 2.0 * farthest) <= self.cutoff + self.skin - rounding

    def _farthest(self, positions: np.ndarray, origin: np.ndarray) -> float:
        """Return how far the atom moved that moved most, Å."""
        displacement = np.subtract(positions, origin, out=self._displacement)
        return math.sqrt(np.einsum("ij,ij->i", displacement, displacement).max(initial=0.0))


def _key(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> tuple[tuple[int, ...], bytes, bytes]:
    """Return what must be equal, to the bit, for displacements alone to decide."""
    return positions.shape, cell.tobytes(), pbc.tobytes()


def _complete(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Return the cell with unit normals in place of the vectors along which nothing repeats.

    The normals follow the periodic vectors, so a slab or wire that is strained a little gives a small strain.
    """
    complete = np.array(cell)
    periodic = np.flatnonzero(pbc)
    if len(periodic) == 2:
        normal = np.cross(cell[periodic[0]], cell[periodic[1]])
        complete[~pbc] = normal / np.linalg.norm(normal)
    elif len(periodic) == 1:
        along = cell[periodic[0]] / np.linalg.norm(cell[periodic[0]])
        # Two fixed axes, made orthogonal to the wire; the axis nearest to the wire is left out.
        axes = np.eye(3)[np.sort(np.argsort(np.abs(along))[:2])]
        first = axes[0] - (axes[0] @ along) * along
        first /= np.linalg.norm(first)
        complete[~pbc] = first, np.cross(along, first)
    return complete
