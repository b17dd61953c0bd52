"""A Verlet list gives at every step the edges of a fresh list, and rebuilds rarely (check N10)."""

from __future__ import annotations

import copy
import pickle

import ase.build
import numpy as np
import pytest

from equipot.errors import StructureError, UsageError
from equipot.graph import VerletList, neighbor_list

CUTOFF = 4.5


def _assert_fresh(verlet: VerletList, positions, cell, pbc) -> int:
    """Compare one update with a fresh list, bit for bit; returns the number of edges."""
    found, fresh = verlet.update(positions, cell, pbc), neighbor_list(positions, cell, pbc, verlet.cutoff)
    for one, other in zip(found, fresh):
        assert np.array_equal(one, other)
    assert np.array_equal(found.distance, fresh.distance)
    return len(found)


def _crystal(repeat=2, rattle=0.05):
    atoms = ase.build.bulk("Cu", cubic=True) * ((repeat,) * 3)
    atoms.rattle(rattle, seed=1)
    return atoms


def test_a_thousand_md_steps():
    """A hot crystal of Langevin oscillators that drifts: at every step the list of a fresh build, from few builds."""
    atoms, rng, verlet, sizes = _crystal(), np.random.default_rng(0), VerletList(CUTOFF, 0.8), set()
    sites, positions, velocities = atoms.positions.copy(), atoms.positions.copy(), np.zeros_like(atoms.positions)
    for _ in range(1000):
        # omega dt = 0.1, friction dt = 0.02, amplitude 0.25 Å an axis: a melting crystal, 60 steps a period.
        velocities += -0.01 * (positions - sites) - 0.02 * velocities + rng.normal(scale=0.005, size=positions.shape)
        positions += velocities
        sites += [0.002, 0.001, 0.0]
        positions += [0.002, 0.001, 0.0]
        sizes.add(_assert_fresh(verlet, positions, atoms.cell.array, atoms.pbc))
    assert len(sizes) > 20
    assert 2 <= verlet.num_builds < 250


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, False), (False, False, False)])
def test_changing_cell(pbc):
    """Breathing, shearing and rotating cells with moving atoms, as a barostat or a relaxation gives."""
    atoms, rng = _crystal(), np.random.default_rng(3)
    reference, fractional = atoms.cell.array, atoms.get_scaled_positions()
    verlet = VerletList(CUTOFF, 0.6)
    for step in range(200):
        strain = np.eye(3) + 0.1 * np.sin(0.01 * step * np.arange(1, 10).reshape(3, 3))
        fractional += rng.normal(scale=5e-4, size=fractional.shape)
        cell = reference @ strain
        _assert_fresh(verlet, fractional @ cell, cell, pbc)
    assert 2 <= verlet.num_builds < 150


def test_compression_beyond_the_skin_rebuilds():
    """Atoms that do not move in fractional coordinates still come closer when the cell shrinks."""
    atoms = _crystal(rattle=0.0)
    verlet = VerletList(CUTOFF, 0.3)
    sizes = [
        _assert_fresh(verlet, atoms.positions * scale, atoms.cell.array * scale, True)
        for scale in (1.0, 0.97, 0.94, 0.9, 0.85)
    ]
    assert sizes[-1] > sizes[0]
    assert verlet.num_builds > 1
    # ... and a cell that shrinks round atoms that stay put brings images near.
    atoms = _crystal(rattle=0.0)
    verlet = VerletList(CUTOFF, 0.3)
    _assert_fresh(verlet, atoms.positions, atoms.cell.array, True)
    _assert_fresh(verlet, atoms.positions, atoms.cell.array * 0.9, True)


def test_wrapping_rebuilds():
    atoms = _crystal()
    verlet = VerletList(CUTOFF, 0.5)
    rng = np.random.default_rng(0)
    for step in range(60):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape) + 0.05
        if step % 10 == 9:
            atoms.wrap()
        _assert_fresh(verlet, atoms.positions, atoms.cell.array, atoms.pbc)
    verlet = VerletList(CUTOFF, 0.5)
    verlet.update(atoms.positions, atoms.cell.array, True)
    moved = atoms.positions.copy()
    moved[3] += atoms.cell.array[1]
    _assert_fresh(verlet, moved, atoms.cell.array, True)
    assert verlet.num_builds == 2


def test_rebuilds_when_and_only_when_needed():
    atoms = _crystal()
    cell, verlet = atoms.cell.array, VerletList(CUTOFF, 0.5)
    verlet.update(atoms.positions, cell, True)
    moved = atoms.positions.copy()
    moved[0, 0] += 0.249
    verlet.update(moved, cell, True)
    assert verlet.num_builds == 1
    moved[0, 0] += 0.002
    _assert_fresh(verlet, moved, cell, True)
    assert verlet.num_builds == 2
    _assert_fresh(verlet, moved, cell, [True, True, False])
    assert verlet.num_builds == 3
    _assert_fresh(verlet, moved[:-1], cell, [True, True, False])
    assert verlet.num_builds == 4
    verlet.reset()
    _assert_fresh(verlet, moved[:-1], cell, [True, True, False])
    assert verlet.num_builds == 5


def test_two_atoms_approaching_head_on():
    """The worst case: two atoms just outside the kept radius, moving at each other by half the skin each."""
    positions = np.array([[0.0, 0.0, 0.0], [5.0 + 1e-7, 0.0, 0.0]])
    verlet = VerletList(4.5, 0.5)
    verlet.update(positions, np.zeros((3, 3)), False)
    for step in (0.1, 0.2, 0.2499999, 0.25, 0.2500001, 0.3):
        _assert_fresh(verlet, positions + step * np.array([[1.0, 0, 0], [-1, 0, 0]]), np.zeros((3, 3)), False)


def test_caller_may_change_its_arrays_and_skin_zero_works():
    atoms = _crystal()
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    for skin in (0.0, 0.4):
        verlet = VerletList(CUTOFF, skin)
        for _ in range(5):
            _assert_fresh(verlet, positions, cell, True)
            positions += np.random.default_rng(0).normal(scale=0.2, size=positions.shape)  # in place
            cell *= 0.99
    empty = VerletList(CUTOFF)
    for _ in range(2):
        assert len(empty.update(np.zeros((0, 3)), np.zeros((3, 3)), False)) == 0


def test_copies_and_pickles_are_independent():
    atoms = _crystal()
    verlet = VerletList(CUTOFF, 0.5)
    verlet.update(atoms.positions, atoms.cell.array, True)
    for twin in (copy.deepcopy(verlet), pickle.loads(pickle.dumps(verlet))):
        _assert_fresh(twin, atoms.positions + 3.0 * np.arange(len(atoms))[:, None], atoms.cell.array, True)
        assert (verlet.num_builds, twin.num_builds) == (1, 2)
        _assert_fresh(verlet, atoms.positions, atoms.cell.array, True)


def test_faults_on_the_way_are_refused():
    atoms = _crystal()
    verlet = VerletList(CUTOFF, 0.5, min_distance=0.5, where="step 12")
    verlet.update(atoms.positions, atoms.cell.array, True)
    broken = atoms.positions.copy()
    broken[5, 2] = np.nan
    with pytest.raises(StructureError, match="step 12: the position of atom 5 is not finite"):
        verlet.update(broken, atoms.cell.array, True)
    close = atoms.positions.copy()
    close[5] = close[6] + 0.1
    with pytest.raises(StructureError, match=r"step 12: atoms 5 and 6 are 0\.173 Å apart"):
        verlet.update(close, atoms.cell.array, True)
    _assert_fresh(verlet, atoms.positions, atoms.cell.array, True)
    with pytest.raises(UsageError, match="skin"):
        VerletList(CUTOFF, -0.1)
    with pytest.raises(UsageError, match="cutoff"):
        VerletList(0.0)


@pytest.mark.parametrize("fault", ["displacement", "cell"])
def test_comparison_sees_a_list_that_is_not_rebuilt(monkeypatch, fault):
    """Planted bug: a list that ignores how far atoms moved, or that the cell changed, fails the comparison."""
    atoms = _crystal(rattle=0.0)
    verlet = VerletList(CUTOFF, 0.3)
    verlet.update(atoms.positions, atoms.cell.array, True)
    monkeypatch.setattr(VerletList, "_is_complete", lambda self, *args: True)
    positions, cell = atoms.positions.copy(), atoms.cell.array
    if fault == "displacement":
        positions[0] += [1.5, 0.2, 0.1]
    else:
        positions, cell = positions * 0.8, cell * 0.8
    with pytest.raises(AssertionError):
        _assert_fresh(verlet, positions, cell, True)


def test_the_stored_list_holds_every_edge_until_the_counter_changes():
    """Whoever keeps what it made from the stored list sees all edges at every step, and few new lists."""
    atoms, rng, verlet = _crystal(), np.random.default_rng(2), VerletList(CUTOFF, 0.6)
    cell, positions, builds, kept = atoms.cell.array.copy(), atoms.positions.copy(), 0, None
    for step in range(100):
        positions += rng.normal(scale=0.02, size=positions.shape)
        if step % 10 == 5:
            positions, cell = positions * 1.001, cell * 1.001
        stored = verlet.stored(positions, cell, True)
        if verlet.num_builds == builds:
            assert stored is kept
        builds, kept = verlet.num_builds, stored
        vector = positions[stored.neighbor] - positions[stored.center] + stored.shift @ cell
        inside = stored.select(np.linalg.norm(vector, axis=1) < CUTOFF)
        for one, other in zip(inside, neighbor_list(positions, cell, True, CUTOFF)):
            assert np.array_equal(one, other)
    assert 2 <= builds < 60
    with pytest.raises(StructureError, match="position of atom 0 is not finite"):
        verlet.stored(positions * np.nan, cell, True)
    with pytest.raises(StructureError, match="too far from the origin"):
        verlet.stored(positions * 1e300, cell, True)
