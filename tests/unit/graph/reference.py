"""What the neighbour lists are compared with: every pair over every image, and structures to try them on."""

from __future__ import annotations

import itertools

import numpy as np

#: Cells of N1: rows are lattice vectors, about 5 Å.
CELLS = {
    "cubic": np.diag([5.0, 5.0, 5.0]),
    "hexagonal": np.array([[5.0, 0.0, 0.0], [-2.5, 5.0 * np.sqrt(0.75), 0.0], [0.0, 0.0, 8.0]]),
    "skewed": np.array([[5.0, 0.0, 0.0], [28.4, 5.0, 0.0], [-12.0, 26.0, 6.0]]),  # 80 degrees from upright
    "left_handed": np.array([[0.0, 5.5, 0.3], [6.0, 0.2, 0.0], [0.1, 0.0, 4.5]]),
}
PBC = list(itertools.product((False, True), repeat=3))

Edges = dict[tuple[int, int, int, int, int], float]


def brute_force(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Edges:
    """Return every edge with its distance, from all pairs over all lattice translations that could matter."""
    positions, cell = np.asarray(positions, dtype=float), np.asarray(cell, dtype=float)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    edges: Edges = {}
    if len(positions) == 0:
        return edges
    difference = positions[None, :, :] - positions[:, None, :]
    for shift in itertools.product(*image_ranges(positions, cell, pbc, cutoff)):
        translation = shift[0] * cell[0] + shift[1] * cell[1] + shift[2] * cell[2]
        distance = np.sqrt(((difference + translation) ** 2).sum(axis=2))
        for i, j in zip(*np.nonzero(distance < cutoff)):
            if i != j or any(shift):
                edges[(int(i), int(j), *shift)] = float(distance[i, j])
    return edges


def image_ranges(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> list[range]:
    """Return the lattice translations along each vector beyond which no pair can be within the cutoff."""
    periodic = cell[pbc]
    ranges = [range(1)] * 3
    if len(periodic):
        # Coefficients along the periodic vectors of the part of each position that lies in their span.
        dual = np.linalg.pinv(periodic)
        coefficients = positions @ dual
        reach = cutoff * np.linalg.norm(dual, axis=0)  # cutoff over the height of the cell
        width = np.ptp(coefficients, axis=0)
        for axis, largest in zip(np.flatnonzero(pbc), np.ceil(reach + width).astype(int)):
            ranges[axis] = range(-largest, largest + 1)
    return ranges


def as_dict(edges) -> Edges:
    """Return a NeighborList as a dictionary like brute_force's; a repeated edge fails."""
    keys = [(int(i), int(j), *map(int, s)) for i, j, s in zip(edges.center, edges.neighbor, edges.shift)]
    assert len(set(keys)) == len(keys), "an edge is in the list twice"
    return dict(zip(keys, edges.distance.tolist()))


def assert_same_edges(found, positions, cell, pbc, cutoff: float) -> None:
    """Compare a NeighborList with brute force: the same set, distances to 1e-12 (relative to coordinates)."""
    expected, found = brute_force(positions, cell, pbc, cutoff), as_dict(found)
    assert found.keys() == expected.keys()
    scale = max(1.0, float(np.abs(positions).max(initial=0.0)))
    for key, distance in expected.items():
        assert abs(found[key] - distance) <= 1e-12 * scale


def random_structure(rng: np.random.Generator, cell: np.ndarray, max_atoms: int = 5) -> np.ndarray:
    """Return positions in and around a cell: about a third of them outside, some far outside."""
    num_atoms = int(rng.integers(1, max_atoms + 1))
    fractional = rng.uniform(-0.3, 1.3, (num_atoms, 3))
    if rng.random() < 0.2:
        fractional += rng.integers(-2, 3, (num_atoms, 3))
    return fractional @ cell
