"""Timing of steps: atoms that move as at a temperature, and medians that count new neighbour lists in proportion."""

from __future__ import annotations

import ase.build
import numpy as np
import pytest
from ase import units

from equipot.interfaces.ase import Calculator
from equipot.simulation.timing import Motion, _summarize, time_steps
from tests.systems import make_potential


def test_atoms_move_as_at_the_temperature():
    atoms = ase.build.bulk("Cu", cubic=True) * (6, 6, 6)
    motion = Motion(atoms, temperature=500.0, timestep_fs=0.5)
    path = np.array([motion.positions(step) for step in range(200)])
    velocity = np.diff(path, axis=0) / (0.5 * units.fs)
    kinetic = 0.5 * (atoms.get_masses()[:, None] * velocity**2).sum(axis=(1, 2)) / len(atoms)
    assert kinetic == pytest.approx(1.5 * units.kB * 500.0, rel=0.1)
    assert np.abs(path - atoms.positions).max() < 0.6
    assert np.array_equal(path[7], Motion(atoms, temperature=500.0, timestep_fs=0.5).positions(7))


def test_new_lists_count_in_proportion():
    times, is_new = np.full(100, 1e-3), np.zeros(100, dtype=bool)
    times[::10], is_new[::10] = 5e-3, True
    times[55] = 3.0  # another program had the core
    step = _summarize(200, times, is_new)
    assert step.seconds == pytest.approx(0.9 * 1e-3 + 0.1 * 5e-3)
    assert step.us_per_atom == pytest.approx(1.4e-3 * 1e6 / 200)
    assert step.ns_per_day(2.0) == pytest.approx(86400 / 1.4e-3 * 2e-6)
    assert step.steps_per_list == pytest.approx(10.0)
    assert step.quartiles == pytest.approx((1e-3, 1e-3))
    assert _summarize(2, np.ones(5), np.zeros(5, dtype=bool)).steps_per_list is None


def test_a_calculator_is_timed_and_the_structure_left_alone():
    atoms = ase.build.bulk("Cu", cubic=True)
    before = atoms.positions.copy()
    calculator = Calculator(make_potential("nequip"), kernels="reference", skin=0.01)
    step = time_steps(calculator, atoms, seconds=0.0, stress=True, temperature=1000.0)
    assert (step.num_atoms, step.num_steps) == (4, 5)
    assert 0.0 < step.quartiles[0] <= step.quartiles[1]
    assert step.steps_per_list is not None
    assert np.array_equal(atoms.positions, before) and atoms.calc is None
