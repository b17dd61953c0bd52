"""Structures that break neighbour-list libraries give the right list or one clear error (checks N4 to N8)."""

from __future__ import annotations

import subprocess
import sys
import time

import ase.build
import numpy as np
import pytest
from ase import Atoms

from equipot.errors import StructureError
from equipot.graph import check_structure, from_ase, neighbor_list
from tests.unit.graph.reference import as_dict, assert_same_edges

ZERO = np.zeros((3, 3))
TIME_LIMIT = 2.0  # s; each takes milliseconds


def _timed(*args, **kwargs):
    started = time.perf_counter()
    try:
        return neighbor_list(*args, **kwargs)
    finally:
        assert time.perf_counter() - started < TIME_LIMIT


# --- N4: no cell, few dimensions, far away


@pytest.mark.parametrize("name", ["H2O", "CO2", "C6H6", "CH3CH2OH", "H2"])
def test_molecules_without_a_cell(name):
    atoms = ase.build.molecule(name)
    edges = _timed(atoms.positions, atoms.cell.array, atoms.pbc, 2.0)
    assert_same_edges(edges, atoms.positions, atoms.cell.array, atoms.pbc, 2.0)
    assert len(edges) > 0


@pytest.mark.parametrize(
    "positions",
    [
        np.zeros((0, 3)),
        np.zeros((1, 3)),
        [[0, 0, 0], [0, 0, 1.5], [0, 0, 3.5]],
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [4, 4, 0]],
    ],
    ids=["0", "1", "line", "plane"],
)
@pytest.mark.parametrize(
    "cell",
    [ZERO, np.diag([0.0, 0.0, 3.0]), np.ones((3, 3)), np.diag([9.0, 9.0, 9.0])],
    ids=["zero", "one vector", "singular", "cubic"],
)
def test_cell_without_periodicity_is_ignored(positions, cell):
    positions = np.array(positions, dtype=float)
    edges = _timed(positions, cell, False, 2.5)
    assert_same_edges(edges, positions, ZERO, False, 2.5)
    assert not edges.shift.any()


def test_slab_and_wire_with_zero_vectors():
    slab = ase.build.fcc111("Cu", (2, 2, 3))
    assert not slab.cell.array[2].any()
    edges = _timed(slab.positions, slab.cell.array, slab.pbc, 5.0)
    assert_same_edges(edges, slab.positions, slab.cell.array, slab.pbc, 5.0)
    wire = np.array([[0.0, 0.0, 0.0], [0.3, 0.0, 1.0]])
    cell = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.2, -0.1, 2.0]])
    edges = _timed(wire, cell, [False, False, True], 6.0)
    assert_same_edges(edges, wire, cell, [False, False, True], 6.0)
    assert len(edges) == 20


@pytest.mark.parametrize("pbc", [False, True])
def test_atoms_far_from_the_origin(pbc):
    positions = np.array([[-1e6, -1e6, -1e6], [1e6, 1e6, 1e6], [1e6 - 1.0, 1e6, 1e6], [1e6, -1e6, 0.0]])
    if not pbc:
        edges = _timed(positions, ZERO, False, 5.0)
        assert list(as_dict(edges)) == [(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)]
        return
    cell = np.diag([3.0, 4.0, 4.5])
    edges = _timed(positions, cell, True, 5.0)
    home = positions - np.floor(positions / cell.diagonal()) * cell.diagonal()
    expected = neighbor_list(home, cell, True, 5.0)
    assert len(edges) == len(expected) > 100
    assert np.allclose(np.sort(edges.distance), np.sort(expected.distance), atol=1e-8)
    vectors = positions[edges.neighbor] - positions[edges.center] + edges.shift @ cell
    assert np.allclose(np.linalg.norm(vectors, axis=1), edges.distance, atol=1e-8)


def test_extremes_need_little_memory():
    """Peak memory of all of them together, in a process of its own: 200 MB is far below any grid over such boxes."""
    program = """
import resource, numpy as np
from equipot.graph import neighbor_list
neighbor_list(np.zeros((1, 3)), np.eye(3), True, 3.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for length in (1e3, 1e4, 1e6, 1e9):
    pair = np.array([[0.5, 0, 0], [length - 0.5, 0, 0]])
    assert len(neighbor_list(pair, length * np.eye(3), True, 5.0)) == 2
    assert len(neighbor_list(pair, np.zeros((3, 3)), False, 5.0)) == 0
    assert len(neighbor_list(pair * [[1], [-1]], np.zeros((3, 3)), False, 5.0)) == 0
neighbor_list(np.random.default_rng(0).uniform(-1e6, 1e6, (1000, 3)), np.zeros((3, 3)), False, 5.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 200_000  # kB


# --- N5: sparse boxes and needles


@pytest.mark.parametrize("length", [1e3, 1e4, 1e6, 1e8, 1e9])
@pytest.mark.parametrize("skew", [0.0, 0.9])
def test_pair_across_the_face_of_a_huge_box(length, skew):
    cell = length * np.array([[1.0, 0.0, 0.0], [skew, 1.0, 0.0], [0.0, -skew, 1.0]])
    # Atoms 0 and 1 see each other only through the boundary along c; atom 2 is alone.
    positions = np.array([[10.0, 10.0, 1.0], [10.0, 10.0, -2.0], [0.5 * length, 0.4 * length, 0.3 * length]])
    positions[1] += cell[2]
    edges = _timed(positions, cell, True, 5.0)
    assert list(as_dict(edges)) == [(0, 1, 0, 0, -1), (1, 0, 0, 0, 1)]
    assert edges.distance == pytest.approx(3.0, abs=1e-14 * length)


def test_sparse_gas_equals_brute_force_per_cluster():
    rng = np.random.default_rng(5)
    centers = rng.uniform(0, 1e5, (300, 1, 3))
    positions = (centers + rng.normal(scale=1.5, size=(300, 4, 3))).reshape(-1, 3)
    edges = _timed(positions, 1e5 * np.eye(3), True, 4.0)
    alone = [neighbor_list(cluster, ZERO, False, 4.0) for cluster in positions.reshape(300, 4, 3)]
    assert len(edges) == sum(map(len, alone)) > 1000
    assert np.array_equal(edges.center, np.concatenate([one.center + 4 * k for k, one in enumerate(alone)]))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, False), (True, False, True)])
def test_needle_cell_is_right_or_refused(pbc):
    cell, positions = np.diag([1e-3, 12.0, 1e9]), np.array([[0.3, 2.0, 3.0]])
    edges = _timed(positions, cell, pbc, 5.0)
    assert len(edges) == 9998  # 4999 images on either side
    assert np.array_equal(np.unique(np.abs(edges.shift[:, 0])), np.arange(1, 5000))
    with pytest.raises(StructureError, match=r"about 5\.24e\+11 edges, more than the 2e\+04 allowed"):
        _timed(positions, 1e-3 * np.eye(3), True, 5.0)
    with pytest.raises(StructureError, match="edges"):
        _timed(positions, np.diag([1e-3, 1e-3, 1e9]), True, 5.0)


def test_budget_is_checked_before_and_after():
    atoms = ase.build.bulk("Cu", cubic=True) * (8, 8, 8)
    geometry = atoms.positions, atoms.cell.array, atoms.pbc
    number = len(neighbor_list(*geometry, 5.0))
    assert len(neighbor_list(*geometry, 5.0, max_edges=number)) == number
    with pytest.raises(StructureError, match=f"frame 7: {len(atoms)} atoms with a cutoff of 5 Å have [0-9.e+]+ edges"):
        neighbor_list(*geometry, 5.0, max_edges=number - 1, where="frame 7")
    with pytest.raises(StructureError, match="about"):
        neighbor_list(*geometry, 5.0, max_edges=number // 4)
    started = time.perf_counter()
    with pytest.raises(StructureError, match="about"):
        neighbor_list(np.random.default_rng(0).random((100_000, 3)), ZERO, False, 5.0)
    assert time.perf_counter() - started < TIME_LIMIT


@pytest.mark.parametrize("slope", [1e2, 1e3, 1e4])
def test_badly_skewed_cell_is_reduced(slope):
    """The same lattice written with long, nearly parallel vectors; matscipy alone would visit slope^2 images."""
    rng = np.random.default_rng(2)
    good = np.array([[4.0, 0.1, 0.0], [0.2, 5.0, 0.3], [0.0, -0.4, 4.5]])
    turn = np.array([[1, 0, 0], [int(slope), 1, 0], [-3, 2, 1]])
    positions = rng.uniform(0, 5, (4, 3))
    edges = _timed(positions, turn @ good, True, 7.0)
    expected = as_dict(neighbor_list(positions, good, True, 7.0))
    found = {(i, j, *map(int, np.array(s) @ turn)): None for i, j, *s in as_dict(edges)}
    assert found.keys() == expected.keys()
    assert np.allclose(np.sort(edges.distance), np.sort(list(expected.values())), atol=1e-8)


# --- N6: no volume


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (ZERO, (True, True, True)),
        (ZERO, (False, False, True)),
        (np.diag([5.0, 5.0, 0.0]), (True, True, True)),
        (np.ones((3, 3)), (True, True, True)),
        ([[5, 0, 0], [5, 0, 0], [0, 0, 5]], (True, True, False)),
        ([[5, 0, 0], [0, 5, 0], [5, 5, 1e-6]], (True, True, True)),
        ([[5, 0, 0], [5, 1e-7, 0], [0, 0, 5]], (True,) * 3),
        (np.diag([1e-7, 5.0, 5.0]), (True, True, True)),
    ],
)
def test_periodic_cell_needs_a_volume(cell, pbc):
    with pytest.raises(StructureError, match=r"train\.xyz frame 3: .*(linearly dependent|no length)"):
        neighbor_list(np.zeros((2, 3)), np.array(cell, dtype=float), pbc, 5.0, where="train.xyz frame 3")
    with pytest.raises(StructureError, match=r"train\.xyz frame 3"):
        check_structure(np.zeros((2, 3)), np.array(cell, dtype=float), pbc, where="train.xyz frame 3")


def test_unused_vectors_may_be_singular():
    check_structure(np.zeros((1, 3)), np.array([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 0]]), (True, False, False))


# --- N7: not finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_position_that_is_not_usable_names_the_atom(value):
    positions = np.zeros((5, 3)) + np.arange(5)[:, None]
    positions[3, 1] = value
    for cell, pbc in ((ZERO, False), (9 * np.eye(3), True)):
        with pytest.raises(StructureError, match=r"run\.db row 4: the position of atom 3 is"):
            neighbor_list(positions, cell, pbc, 5.0, where="run.db row 4")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("pbc", [False, True])
def test_cell_that_is_not_usable_names_the_vector(value, pbc):
    cell = 9 * np.eye(3)
    cell[1, 2] = value
    with pytest.raises(StructureError, match="lattice vector 1 is"):
        neighbor_list(np.zeros((1, 3)), cell, pbc, 5.0)


def test_wrong_shapes_are_refused():
    with pytest.raises(StructureError, match=r"positions should have shape \(N, 3\)"):
        neighbor_list(np.zeros((4, 2)), np.eye(3), True, 5.0)
    with pytest.raises(StructureError, match="cell and pbc"):
        neighbor_list(np.zeros((4, 3)), np.ones(3), True, 5.0)


# --- N8: contacts


@pytest.mark.parametrize("length", [5.0, 1e6], ids=["matscipy", "tree"])
def test_coincident_atoms(length):
    positions = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    edges = neighbor_list(positions, length * np.eye(3), True, 3.0)
    assert {(1, 2, 0, 0, 0), (2, 1, 0, 0, 0)} <= as_dict(edges).keys()
    for call in (neighbor_list, lambda *args, **kwargs: check_structure(*args[:3], **kwargs)):
        with pytest.raises(StructureError, match="x: atoms 1 and 2 are 0 Å apart"):
            call(positions, length * np.eye(3), True, 3.0, min_distance=0.05, where="x")
    check_structure(positions, length * np.eye(3), True)


def test_smallest_distance_is_the_users():
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.04]])
    with pytest.raises(StructureError, match=r"a\.xyz frame 1: atoms 0 and 1 are 0\.04 Å apart"):
        from_ase(atoms, 3.0, source="a.xyz frame 1")
    assert from_ase(atoms, 3.0, min_distance=0.01).num_edges == 2
    assert from_ase(atoms, 3.0, min_distance=None).num_edges == 2
    with pytest.raises(StructureError, match=r"0\.5 Å"):
        from_ase(Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.49]]), 3.0, min_distance=0.5)


def test_contact_with_an_own_image_and_across_the_boundary():
    with pytest.raises(StructureError, match="atom 0 and its periodic image are"):
        from_ase(Atoms("H", cell=[0.04, 9, 9], pbc=True), 3.0)
    with pytest.raises(StructureError, match=r"atoms 0 and 1 are 0\.02 Å apart"):
        from_ase(Atoms("H2", positions=[[0.01, 0, 0], [8.99, 0, 0]], cell=[9, 9, 9], pbc=True), 3.0)
