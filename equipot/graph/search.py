"""Finding every pair of atoms closer than a radius, whatever the cell: what every search needs, and a search in Python.

A search over a grid of bins is the fastest way for ordinary structures, but it needs a cell with a volume, and crawls
where it crosses thousands of images (needle and badly skewed cells). matscipy's also fails where the grid is huge
(sparse boxes), and loops or overflows for atoms far outside the cell. So, before anything is searched:

* directions without periodicity get a box of their own around the atoms, whatever the cell there;
* a badly skewed cell is Minkowski-reduced (the lattice, hence the answer, is the same);
* the number of edges is estimated, and a hopeless request is refused before anything is allocated.

The search in Python, for where there are no native kernels (``native_search``) or these decline, wraps atoms into the
cell and refers the shifts found back to the positions as given; a grid too large for the number of atoms, or a search
over too many images, goes to SciPy's k-d tree with explicit images instead of matscipy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from ase.geometry import minkowski_reduce
from matscipy.neighbours import neighbour_list as matscipy_neighbour_list
from scipy.spatial import cKDTree

from equipot.errors import StructureError
from equipot.system.memory import available_memory

#: Pairs tested or bins visited by matscipy above which a reduced cell is looked for: this plus so many an atom.
_REDUCE_WORK, _REDUCE_WORK_PER_ATOM = 1e6, 2000.0
#: matscipy is used up to this many bins, plus so many an atom ...
_MAX_BINS, _MAX_BINS_PER_ATOM = 1e5, 8.0
#: ... and this many images along one direction (it wraps bin indices one period at a time).
_MAX_IMAGES = 64
#: More neighbours an atom than this, on average, is a broken cell or cutoff: dense matter has 5000 within 20 Å.
MAX_EDGES_PER_ATOM = 20_000
#: Edges a structure may have in any case; more, where they fit in half of the memory that is free.
MAX_EDGES = 50_000_000
#: A list holds two int64, three int8 and one float64 an edge.
_BYTES_PER_EDGE = 27


class Pairs(NamedTuple):
    """Candidate pairs: atoms i and j, (P,) whole numbers, and the lattice translation of j, (P, 3).

    Unordered, or ascending by centre where ``is_sorted``.
    """

    center: np.ndarray
    neighbor: np.ndarray
    shift: np.ndarray
    is_sorted: bool = False


class Box(NamedTuple):
    """A full-rank cell around a structure: periodic rows are the lattice's, the others enclose the atoms."""

    vectors: np.ndarray  # (3, 3)
    origin: np.ndarray  # (3,)
    inverse: np.ndarray  # (3, 3)
    heights: np.ndarray  # (3,) distance between opposite faces


class Frame(NamedTuple):
    """What a search runs in.

    Attributes:
        box: full-rank cell around the atoms.
        operation: whole (3, 3) matrix M with box = M @ cell along the periodic rows; None: the identity.
        radius: Å, a little more than asked for.
    """

    box: Box
    operation: np.ndarray | None
    radius: float


def make_frame(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, radius: float, *, where: str) -> Frame:
    """Prepare the search for all pairs nearer than ``radius``; the caller has checked the geometry."""
    scale = float(np.abs(positions).max()) + float(np.abs(cell).max())
    # Rounding in wrapping and binning must not lose a pair; the caller decides with the vectors as the model sees them.
    radius = radius * (1.0 + 1e-10) + 64.0 * np.finfo(float).eps * scale
    box, operation = _make_box(positions, cell, pbc, radius), None
    num_atoms = len(positions)
    if pbc.sum() >= 2 and _work(box, pbc, radius, num_atoms) > _REDUCE_WORK + _REDUCE_WORK_PER_ATOM * num_atoms:
        reduced, operation = _reduce(cell, pbc, where)
        box = _make_box(positions, reduced, pbc, radius)
    return Frame(box, operation, radius)


def find_pairs(positions: np.ndarray, pbc: np.ndarray, frame: Frame) -> Pairs:
    """Find all pairs nearer than the frame's radius, maybe with a few just beyond it and atoms paired with themselves.

    The caller has to filter by distance.
    """
    box, operation, radius = frame
    num_atoms = len(positions)
    fractional = (positions - box.origin) @ box.inverse
    offset = np.where(pbc, np.floor(fractional), 0.0)
    wrapped, fractional = positions - offset @ box.vectors, fractional - offset
    images = _images(frame, pbc)
    num_bins = float(np.prod(np.maximum(np.floor(box.heights / radius), 1.0)))
    is_grid = num_bins <= _MAX_BINS + _MAX_BINS_PER_ATOM * num_atoms and images.max() <= _MAX_IMAGES
    if is_grid:
        center, neighbor, shift = matscipy_neighbour_list(
            "ijS",
            positions=wrapped,
            cell=box.vectors,
            pbc=pbc,
            cutoff=float(radius),
            cell_origin=box.origin,
            numbers=np.ones(num_atoms, dtype=np.int32),
        )
    else:
        center, neighbor, shift = _search_tree(wrapped, fractional, box, pbc, radius)
    if offset.any():
        offset = offset.astype(np.int64)
        shift = shift + offset[center]
        shift -= offset[neighbor]
    if operation is not None:
        shift = shift @ operation
    return Pairs(center, neighbor, shift, is_grid)


def _images(frame: Frame, pbc: np.ndarray) -> np.ndarray:
    """Return how many cells the radius reaches along each vector."""
    return np.where(pbc, np.ceil(frame.radius / frame.box.heights), 0.0)


def _make_box(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, radius: float) -> Box:
    """Return the cell, its non-periodic vectors replaced by normals that span the atoms plus twice the radius."""
    origin = np.zeros(3)
    vectors = cell
    if not pbc.all():
        periodic = cell[pbc]
        # The last right singular vectors span the space the periodic ones leave free.
        normals = np.linalg.svd(periodic)[2][len(periodic) :] if len(periodic) else np.eye(3)
        heights_along = positions @ normals.T
        low, high = heights_along.min(axis=0) - radius, heights_along.max(axis=0) + radius
        origin = low @ normals
        vectors = np.array(cell)
        vectors[~pbc] = normals * (high - low)[:, None]
    inverse = np.linalg.inv(vectors)
    return Box(vectors, origin, inverse, 1.0 / np.linalg.norm(inverse, axis=0))


def _work(box: Box, pbc: np.ndarray, radius: float, num_atoms: int) -> float:
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
        raise StructureError(
            f"{where}: the cell is too skewed to be reduced ({error}); check the lattice vectors."
        ) from None
    operation = np.where(np.outer(pbc, pbc), operation, 0).astype(np.int64)
    reduced = np.array(cell)
    reduced[pbc] = (operation @ padded)[pbc]
    return reduced, operation


def check_budget(positions: np.ndarray, pbc: np.ndarray, frame: Frame, max_edges: int | None, where: str) -> None:
    """Refuse a request for far more edges than allowed, from the number of atoms in each bin of the cell.

    Raises:
        StructureError: where about twice the edges allowed, or more, would be found.
    """
    box, radius, num_atoms = frame.box, frame.radius, len(positions)
    # Nothing can exceed every atom with every image in reach; for ordinary structures that settles it.
    most = num_atoms * num_atoms * float(np.prod(2.0 * _images(frame, pbc) + 1.0))
    if most <= MAX_EDGES and not exceeds_budget(most, num_atoms, max_edges):
        return
    bins = np.maximum(np.floor(box.heights / radius), 1.0)
    fractional = (positions - box.origin) @ box.inverse
    fractional -= np.where(pbc, np.floor(fractional), 0.0)
    counts = _count_in_bins(np.floor(fractional * bins), bins).astype(float)
    sphere, bin_volume = 4.0 / 3.0 * math.pi * radius**3, abs(float(np.linalg.det(box.vectors / bins[:, None])))
    # Atoms that share a bin are taken as spread over it evenly.
    estimate = float((counts**2).sum()) * (sphere / bin_volume if bin_volume > 0.0 else math.inf)
    # Right for matter spread evenly, up to four times too high for a cluster smaller than the radius.
    if exceeds_budget(0.5 * estimate, num_atoms, max_edges):
        raise too_many_edges(estimate, "about ", num_atoms, radius, max_edges, where)


def _count_in_bins(bin_index: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Return the numbers of atoms in the bins that hold any, for (N, 3) whole numbers."""
    if float(np.prod(bins + 1.0)) > 2.0**53:
        return np.unique(bin_index, axis=0, return_counts=True)[1]
    key = (bin_index[:, 0] * (bins[1] + 1.0) + bin_index[:, 1]) * (bins[2] + 1.0) + bin_index[:, 2]
    if float(np.prod(bins + 1.0)) < 4.0 * len(key):
        return np.bincount(key.astype(np.int64))
    return np.unique(key, return_counts=True)[1]


def edges_allowed(num_atoms: int, max_edges: int | None) -> int:
    """Return the budget of edges: ``max_edges`` or what memory allows, and fewer for few atoms."""
    return min(_most_edges(max_edges), MAX_EDGES_PER_ATOM * num_atoms)


def exceeds_budget(number: float, num_atoms: int, max_edges: int | None) -> bool:
    """Return whether so many edges are more than allowed; asks for the free memory only where it matters."""
    if number <= min(MAX_EDGES if max_edges is None else max_edges, MAX_EDGES_PER_ATOM * num_atoms):
        return False
    return number > edges_allowed(num_atoms, max_edges)


def _most_edges(max_edges: int | None) -> int:
    if max_edges is not None:
        return max_edges
    return max(MAX_EDGES, (available_memory() or 0) // (2 * _BYTES_PER_EDGE))


def too_many_edges(
    number: float, about: str, num_atoms: int, radius: float, max_edges: int | None, where: str
) -> StructureError:
    """Return the error for a structure with more edges than the budget."""
    allowed, most = edges_allowed(num_atoms, max_edges), _most_edges(max_edges)
    why = f"max_edges = {most:.3g}" if max_edges is not None else f"{most:.3g} for the memory that is free"
    return StructureError(
        f"{where}: {num_atoms} atoms with a cutoff of {radius:.4g} Å have {about}{number:.3g} edges, "
        f"more than the {allowed:.3g} allowed ({why}, and {MAX_EDGES_PER_ATOM} an atom); check the "
        "cell and the units of length (Å), or lower the cutoff."
    )


def _search_tree(
    wrapped: np.ndarray, fractional: np.ndarray, box: Box, pbc: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    return found["i"], index[found["j"]], shift[found["j"]]
