"""Finding every pair of atoms closer than a radius, whatever the cell: matscipy behind guards, a k-d tree elsewhere.

matscipy lays a grid of bins over the cell. That is the fastest way for ordinary structures, but it needs a cell with a
volume, fails or crawls where the grid is huge (sparse boxes) or where one search crosses thousands of images (needle
and badly skewed cells), and loops or overflows for atoms far outside the cell. So, before it is called:

* directions without periodicity get a box of their own around the atoms, whatever the cell there;
* atoms are wrapped into the cell, and the shifts found are referred back to the positions as given;
* a badly skewed cell is Minkowski-reduced (the lattice, hence the answer, is the same);
* the number of edges is estimated, and a hopeless request is refused before anything is allocated;
* a grid too large for the number of atoms, or a search over too many images, goes to SciPy's k-d tree with explicit
  images.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce
from matscipy.neighbours import neighbour_list as matscipy_neighbour_list
from scipy.spatial import cKDTree

from equipot.errors import StructureError

#: Pairs tested or bins visited by matscipy above which a reduced cell is looked for: this plus so many an atom.
_REDUCE_WORK, _REDUCE_WORK_PER_ATOM = 1e6, 2000.0
#: matscipy is used up to this many bins, plus so many an atom ...
_MAX_BINS, _MAX_BINS_PER_ATOM = 1e5, 8.0
#: ... and this many images along one direction (it wraps bin indices one period at a time).
_MAX_IMAGES = 64
#: More neighbours an atom than this, on average, is a broken cell or cutoff: dense matter has 5000 within 20 Å.
MAX_EDGES_PER_ATOM = 20_000


class Pairs(NamedTuple):
    """Candidate pairs, unordered: atoms i and j, (P,) int64, and the lattice translation of j, (P, 3) int64."""

    center: np.ndarray
    neighbor: np.ndarray
    shift: np.ndarray


class _Box(NamedTuple):
    """A full-rank cell around a structure: periodic rows are the lattice's, the others enclose the atoms."""

    vectors: np.ndarray  # (3, 3)
    origin: np.ndarray  # (3,)
    inverse: np.ndarray  # (3, 3)
    heights: np.ndarray  # (3,) distance between opposite faces


def find_pairs(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, radius: float, *, max_edges: int,
               where: str) -> Pairs:
    """Find all pairs nearer than ``radius``, maybe with a few just beyond it and atoms paired with themselves.

    The caller must have checked the geometry and has to filter by distance. Arguments as in ``neighbor_list``.

    Raises:
        StructureError: where about twice the edges allowed, or more, would be found.
    """
    num_atoms = len(positions)
    if num_atoms == 0:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3), np.int64))
    scale = float(np.abs(positions).max()) + float(np.abs(cell).max())
    # Rounding in wrapping and binning must not lose a pair; the caller decides with the vectors as the model sees them.
    radius = radius * (1.0 + 1e-10) + 64.0 * np.finfo(float).eps * scale
    operation: np.ndarray | None = None
    box = _make_box(positions, cell, pbc, radius)
    if pbc.sum() >= 2 and _work(box, pbc, radius, num_atoms) > _REDUCE_WORK + _REDUCE_WORK_PER_ATOM * num_atoms:
        reduced, operation = _reduce(cell, pbc, where)
        box = _make_box(positions, reduced, pbc, radius)

    fractional = (positions - box.origin) @ box.inverse
    offset = np.where(pbc, np.floor(fractional), 0.0)
    wrapped, fractional = positions - offset @ box.vectors, fractional - offset
    images = np.where(pbc, np.ceil(radius / box.heights), 0.0)
    _check_budget(fractional, box, pbc, radius, images, max_edges, where)

    num_bins = float(np.prod(np.maximum(np.floor(box.heights / radius), 1.0)))
    if num_bins > _MAX_BINS + _MAX_BINS_PER_ATOM * num_atoms or images.max() > _MAX_IMAGES:
        center, neighbor, shift = _search_tree(wrapped, fractional, box, pbc, radius)
    else:
        center, neighbor, shift = matscipy_neighbour_list(
            "ijS", positions=wrapped, cell=box.vectors, pbc=pbc, cutoff=float(radius), cell_origin=box.origin,
            numbers=np.ones(num_atoms, dtype=np.int32))
        center, neighbor = center.astype(np.int64), neighbor.astype(np.int64)
        shift = shift.astype(np.int64)
    if offset.any():
        offset = offset.astype(np.int64)
        shift += offset[center] - offset[neighbor]
    if operation is not None:
        shift = shift @ operation
    return Pairs(center, neighbor, shift)


def _make_box(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, radius: float) -> _Box:
    """Return the cell, its non-periodic vectors replaced by normals that span the atoms plus twice the radius."""
    origin = np.zeros(3)
    vectors = cell
    if not pbc.all():
        periodic = cell[pbc]
        # The last right singular vectors span the space the periodic ones leave free.
        normals = np.linalg.svd(periodic)[2][len(periodic):] if len(periodic) else np.eye(3)
        heights_along = positions @ normals.T
        low, high = heights_along.min(axis=0) - radius, heights_along.max(axis=0) + radius
        origin = low @ normals
        vectors = np.array(cell)
        vectors[~pbc] = normals * (high - low)[:, None]
    inverse = np.linalg.inv(vectors)
    return _Box(vectors, origin, inverse, 1.0 / np.linalg.norm(inverse, axis=0))


def _work(box: _Box, pbc: np.ndarray, radius: float, num_atoms: int) -> float:
    """Return about how many bins are visited and pairs are tested by the search on a grid."""
    bins = np.maximum(np.floor(box.heights / radius), 1.0)
    reach = np.where(pbc, np.ceil(radius * bins / box.heights), np.minimum(bins - 1.0, 1.0))
    visited = float(np.prod(2.0 * reach + 1.0))
    return num_atoms * visited * max(1.0, num_atoms / float(np.prod(bins)))


def _reduce(cell: np.ndarray, pbc: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the Minkowski-reduced cell and the whole matrix M with reduced = M @ cell on the periodic rows."""
    padded = np.array(cell)
    padded[~pbc] = 0.0
    try:
        operation = minkowski_reduce(padded, pbc)[1]
    except RuntimeError as error:
        raise StructureError(f"{where}: the cell is too skewed to be reduced ({error}); check the lattice "
                             "vectors.") from None
    operation = np.where(np.outer(pbc, pbc), operation, 0).astype(np.int64)
    reduced = np.array(cell)
    reduced[pbc] = (operation @ padded)[pbc]
    return reduced, operation


def _check_budget(fractional: np.ndarray, box: _Box, pbc: np.ndarray, radius: float, images: np.ndarray,
                  max_edges: int, where: str) -> None:
    """Refuse a request for far more edges than allowed, from the number of atoms in each bin of the cell."""
    num_atoms = len(fractional)
    allowed = edges_allowed(num_atoms, max_edges)
    # Nothing can exceed every atom with every image in reach; for ordinary structures that settles it.
    if num_atoms * num_atoms * float(np.prod(2.0 * images + 1.0)) <= allowed:
        return
    bins = np.maximum(np.floor(box.heights / radius), 1.0)
    _, counts = np.unique(np.floor(fractional * bins), axis=0, return_counts=True)
    counts = counts.astype(float)
    sphere, bin_volume = 4.0 / 3.0 * math.pi * radius**3, abs(float(np.linalg.det(box.vectors / bins[:, None])))
    # Atoms that share a bin are taken as spread over it evenly.
    estimate = float((counts**2).sum()) * (sphere / bin_volume if bin_volume > 0.0 else math.inf)
    # Right for matter spread evenly, up to four times too high for a cluster smaller than the radius.
    if estimate > 2.0 * allowed:
        raise too_many_edges(estimate, "about ", num_atoms, radius, max_edges, where)


def edges_allowed(num_atoms: int, max_edges: int) -> int:
    """Return the budget of edges: ``max_edges``, or fewer for few atoms."""
    return min(max_edges, MAX_EDGES_PER_ATOM * num_atoms)


def too_many_edges(number: float, about: str, num_atoms: int, radius: float, max_edges: int,
                   where: str) -> StructureError:
    """Return the error for a structure with more edges than the budget."""
    allowed = edges_allowed(num_atoms, max_edges)
    return StructureError(f"{where}: {num_atoms} atoms with a cutoff of {radius:.4g} Å have {about}{number:.3g} edges, "
                          f"more than the {allowed:.3g} allowed (max_edges = {max_edges:.3g}, and {MAX_EDGES_PER_ATOM} "
                          "an atom); check the cell and the units of length (Å), or lower the cutoff.")


def _search_tree(wrapped: np.ndarray, fractional: np.ndarray, box: _Box, pbc: np.ndarray,
                 radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find pairs with a k-d tree over the atoms and those periodic images that can be within reach of one."""
    index, shift = np.arange(len(wrapped)), np.zeros((len(wrapped), 3), dtype=np.int64)
    for axis in np.flatnonzero(pbc):
        reach = radius / box.heights[axis] * (1.0 + 1e-9) + 1e-9
        along = fractional[index, axis]
        first = np.ceil(fractional[:, axis].min() - reach - along).astype(np.int64)
        last = np.floor(fractional[:, axis].max() + reach - along).astype(np.int64)
        copies = last - first + 1  # at least 1: shift 0 is always in
        repeated = np.repeat(np.arange(len(index)), copies)
        step = np.arange(len(repeated)) - np.repeat(np.cumsum(copies) - copies, copies)
        index, shift = index[repeated], shift[repeated]
        shift[:, axis] = first[repeated] + step
    images = cKDTree(wrapped[index] + shift @ box.vectors)
    found = cKDTree(wrapped).sparse_distance_matrix(images, radius, output_type="ndarray")
    return found["i"].astype(np.int64), index[found["j"]], shift[found["j"]]
