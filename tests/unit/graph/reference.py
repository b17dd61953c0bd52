"""What the neighbour lists are compared with: every pair over every image, and structures to try them on."""

from __future__ import annotations

import itertools

import numpy as np

from equipot.checks.model.neighbors import Edges, brute_force

#: Cells of N1: rows are lattice vectors, about 5 Å.
CELLS = {
    "cubic": np.diag([5.0, 5.0, 5.0]),
    "hexagonal": np.array([[5.0, 0.0, 0.0], [-2.5, 5.0 * np.sqrt(0.75), 0.0], [0.0, 0.0, 8.0]]),
    "skewed": np.array([[5.0, 0.0, 0.0], [28.4, 5.0, 0.0], [-12.0, 26.0, 6.0]]),  # 80 degrees from upright
    "left_handed": np.array([[0.0, 5.5, 0.3], [6.0, 0.2, 0.0], [0.1, 0.0, 4.5]]),
}
PBC = list(itertools.product((False, True), repeat=3))


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
