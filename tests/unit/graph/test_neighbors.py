"""Neighbour lists equal brute force over images, exactly (checks N1, N2, N3, N9, N11)."""

from __future__ import annotations

import math

import ase.build
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from equipot.checks.model.neighbors import brute_force, image_ranges
from equipot.errors import UsageError
from equipot.graph import native_search, neighbor_list, neighbors, search
from equipot.kernels import selection
from tests.unit.graph.reference import (
    CELLS,
    PBC,
    as_dict,
    assert_same_edges,
    random_structure,
)


def _compare_many(name: str, pbc: tuple[bool, ...], count: int) -> None:
    cell = CELLS[name]
    rng = np.random.default_rng([len(name), *map(int, pbc)])
    for _ in range(count):
        positions = random_structure(rng, cell)
        cutoff = float(rng.uniform(1.0, 6.0))
        assert_same_edges(neighbor_list(positions, cell, pbc, cutoff), positions, cell, pbc, cutoff)


@pytest.mark.parametrize("pbc", PBC, ids=lambda pbc: "".join("TF"[not flag] for flag in pbc))
@pytest.mark.parametrize("name", CELLS)
def test_equals_brute_force(name, pbc):
    _compare_many(name, pbc, 15)


@pytest.mark.slow
@pytest.mark.parametrize("pbc", PBC, ids=lambda pbc: "".join("TF"[not flag] for flag in pbc))
@pytest.mark.parametrize("name", CELLS)
def test_equals_brute_force_at_length(name, pbc):
    _compare_many(name, pbc, 200)


_components = st.floats(-8.0, 8.0, allow_nan=False, width=32)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    cell=st.lists(_components, min_size=9, max_size=9),
    pbc=st.tuples(*[st.booleans()] * 3),
    fractional=st.lists(st.tuples(*[st.floats(-2.0, 3.0, width=32)] * 3), min_size=1, max_size=4),
    cutoff=st.floats(0.5, 5.0, width=32),
)
def test_equals_brute_force_in_random_cells(cell, pbc, fractional, cutoff):
    cell, pbc = np.reshape(cell, (3, 3)), np.array(pbc)
    lengths = np.linalg.norm(cell[pbc], axis=1)
    assume((lengths > 0.1).all())
    directions = cell[pbc] / lengths[:, None]
    assume(np.linalg.det(directions @ directions.T) > 1e-4)
    positions = np.array(fractional) @ (cell + 3.0 * np.eye(3))
    # Brute force over more images than this takes too long; test_extremes has such cells.
    assume(math.prod(map(len, image_ranges(positions, cell, pbc, cutoff))) < 3000)
    assert_same_edges(neighbor_list(positions, cell, pbc, cutoff), positions, cell, pbc, cutoff)


@pytest.mark.parametrize("backend", ["", "tree", "reduced", "reduced tree", "chunks"])
@pytest.mark.parametrize("name", CELLS)
def test_every_path_gives_the_same_list(monkeypatch, name, backend):
    """The k-d tree and the reduced cell, otherwise taken only for odd structures, on ordinary ones; and C++."""
    cell, rng = CELLS[name], np.random.default_rng(3)
    cases = [(random_structure(rng, cell), pbc, float(rng.uniform(1.0, 7.0))) for pbc in PBC for _ in range(3)]
    with selection.use("reference"):
        expected = [neighbor_list(positions, cell, pbc, cutoff) for positions, pbc, cutoff in cases]
    if "tree" in backend:
        monkeypatch.setattr(search, "_MAX_BINS", -np.inf)
        monkeypatch.setattr(search, "matscipy_neighbour_list", None)
    if "chunks" in backend:
        monkeypatch.setattr(neighbors, "_CHUNK", 10)
    if "reduced" in backend:
        monkeypatch.setattr(search, "_REDUCE_WORK", -np.inf)
    for (positions, pbc, cutoff), edges in zip(cases, expected):
        found = neighbor_list(positions, cell, pbc, cutoff)
        for one, other in zip(found, edges):
            assert np.array_equal(one, other)
        assert np.array_equal(found.distance, edges.distance)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_large_structures_are_the_same_by_every_search(kernels, num_threads):
    """Bit for bit, on any number of threads: a hot crystal with atoms outside the cell, a slab, a cluster in a box."""
    if kernels == "reference" and num_threads > 1:
        pytest.skip("runs on one thread")
    crystal = ase.build.bulk("Cu", cubic=True) * (6, 7, 8)
    crystal.rattle(0.3, seed=0)
    crystal.positions[::5] += crystal.cell.array[1] * 3.0
    cluster = crystal.positions[:900] + 5e3
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        for positions, cell, pbc in (
            (crystal.positions, crystal.cell.array, True),
            (crystal.positions, crystal.cell.array, [True, False, True]),
            (cluster, 1e4 * np.eye(3), True),
            (cluster, np.zeros((3, 3)), False),
        ):
            found = neighbor_list(positions, cell, pbc, 4.3)
            with selection.use("reference"):
                expected = neighbor_list(positions, cell, pbc, 4.3)
            assert len(found) > 10_000
            for name in ("center", "neighbor", "shift", "distance"):
                assert np.array_equal(getattr(found, name), getattr(expected, name))
    finally:
        torch.set_num_threads(before)


def test_shifts_beyond_a_byte():
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 700.0]])
    small, large = (neighbor_list(positions, length * np.eye(3), True, 2.5) for length in (7.0, 5.0))
    assert (small.shift.dtype, large.shift.dtype) == (np.int8, np.int64)
    assert [tuple(shift) for shift in small.shift[small.center != small.neighbor]] == [(0, 0, -100), (0, 0, 100)]
    assert [tuple(shift) for shift in large.shift[large.center != large.neighbor]] == [(0, 0, -140), (0, 0, 140)]


def test_a_search_that_would_take_too_long_is_left_to_the_tree(monkeypatch, kernels):
    rng = np.random.default_rng(0)
    positions = rng.uniform(0.0, 20.0, (500, 3))
    expected = neighbor_list(positions, 100.0 * np.eye(3), True, 5.0)
    monkeypatch.setattr(native_search, "_MAX_TESTS", 1e4)
    monkeypatch.setattr(native_search, "_MAX_TESTS_PER_ATOM", 0.0)
    found = neighbor_list(positions, 100.0 * np.eye(3), True, 5.0)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected))


def test_one_atom_in_a_tiny_cube_has_all_its_images():
    edges = neighbor_list(np.zeros((1, 3)), 0.7 * np.eye(3), True, 5.0)
    assert len(edges) == 1550
    assert_same_edges(edges, np.zeros((1, 3)), 0.7 * np.eye(3), True, 5.0)


def test_fcc_has_its_shells():
    atoms = ase.build.bulk("Cu", a=3.6)
    assert len(neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 6.0)) == 78
    assert len(neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 3.0)) == 12


@pytest.mark.parametrize("name", CELLS)
def test_list_is_symmetric_sorted_and_without_self(name):
    rng = np.random.default_rng(1)
    positions = random_structure(rng, CELLS[name], max_atoms=12)
    edges = neighbor_list(positions, CELLS[name], True, 6.0)
    keys = list(as_dict(edges))
    assert len(keys) > 100
    assert keys == sorted(keys)
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in keys} == set(keys)
    assert not any(key[0] == key[1] and key[2:] == (0, 0, 0) for key in keys)
    assert edges.center.dtype == edges.neighbor.dtype == np.int64
    assert edges.shift.dtype == np.int8


def test_shifts_refer_to_the_positions_as_given():
    """Moving an atom by lattice vectors changes its shifts, not the vectors: nothing is wrapped behind one's back."""
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=0)
    moved = atoms.positions.copy()
    translations = np.random.default_rng(0).integers(-50, 51, (len(atoms), 3))
    moved += translations @ atoms.cell.array
    plain = as_dict(neighbor_list(atoms.positions, atoms.cell.array, True, 5.0))
    edges = neighbor_list(moved, atoms.cell.array, True, 5.0)
    vectors = moved[edges.neighbor] - moved[edges.center] + edges.shift @ atoms.cell.array
    assert np.allclose(np.linalg.norm(vectors, axis=1), edges.distance, atol=1e-10)
    back = {(i, j, *map(int, np.array(s) + translations[j] - translations[i])) for i, j, *s in as_dict(edges)}
    assert back == set(plain)


def test_the_cutoff_itself_is_outside():
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    assert len(neighbor_list(positions, np.zeros((3, 3)), False, 5.0)) == 0
    assert len(neighbor_list(positions, np.zeros((3, 3)), False, np.nextafter(5.0, 6.0))) == 2
    # A lattice at a number that is not exact in binary: twelve images or none, by the very distance reported.
    cubic = neighbor_list(np.zeros((1, 3)), 2.5 * np.eye(3), True, 2.5)
    assert len(cubic) == 0
    atoms = ase.build.bulk("Cu", cubic=True) * (3, 3, 3)
    edges = neighbor_list(atoms.positions, atoms.cell.array, True, 3.61 / np.sqrt(2.0))
    assert (edges.distance < 3.61 / np.sqrt(2.0)).all()
    keys = set(as_dict(edges))
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in keys} == keys


def test_no_pair_is_lost_to_rounding():
    """A cutoff one unit in the last place beyond a distance includes that pair, also far from the origin."""
    rng = np.random.default_rng(4)
    cell = CELLS["skewed"]
    for scale in (1.0, 1e3, 1e6):
        for _ in range(20):
            positions = random_structure(rng, cell) + rng.uniform(-scale, scale, 3)
            edges = neighbor_list(positions, cell, True, 6.0)
            distance = float(rng.choice(edges.distance))
            below = neighbor_list(positions, cell, True, distance)
            beyond = neighbor_list(positions, cell, True, float(np.nextafter(distance, 9.0)))
            assert len(below) == np.count_nonzero(edges.distance < distance)
            assert len(beyond) == np.count_nonzero(edges.distance <= distance) > len(below)


def test_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    positions, cell, pbc = rng.uniform(-20, 20, (6, 3)), CELLS["skewed"].copy(), np.array([True, False, True])
    copies = positions.copy(), cell.copy(), pbc.copy()
    for array in (positions, cell, pbc):
        array.flags.writeable = False
    neighbor_list(positions, cell, pbc, 5.0)
    for array, copy in zip((positions, cell, pbc), copies):
        assert array.tobytes() == copy.tobytes()


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan"), float("inf")])
def test_cutoff_has_to_be_positive(cutoff):
    with pytest.raises(UsageError, match="positive number"):
        neighbor_list(np.zeros((1, 3)), np.eye(3), True, cutoff)


def test_brute_force_notices_a_missing_and_an_extra_edge():
    """The comparison itself can fail: a dropped self-image and a cutoff that is not strict are both seen."""
    cell = 3.0 * np.eye(3)
    edges = neighbor_list(np.zeros((1, 3)), cell, True, 4.0)
    dropped = edges.select(edges.center != edges.neighbor)
    with pytest.raises(AssertionError):
        assert_same_edges(dropped, np.zeros((1, 3)), cell, True, 4.0)
    with pytest.raises(AssertionError):
        assert_same_edges(
            neighbor_list(np.zeros((1, 3)), cell, True, np.nextafter(3.0, 4.0)), np.zeros((1, 3)), cell, True, 3.0
        )
    assert len(brute_force(np.zeros((1, 3)), cell, True, 3.0)) == 0
