"""Relaxation: to the known minimum, without changing the input, and refusing what has no meaning."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from equipot.errors import UsageError
from equipot.properties import equation_of_state
from equipot.simulation.relax import relax
from tests.unit.interfaces.pair_potential import pair_potential, reference_calculator


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
def test_a_dimer_relaxes_to_the_minimum_of_the_curve(optimizer):
    start = Atoms("Ar2", [[0, 0, 0], [2.8, 0.1, 0]])
    result = relax(start, pair_potential(), fmax=1e-5, optimizer=optimizer)
    assert result.is_converged and result.max_force < 1e-5 and result.pressure_gpa is None
    assert result.atoms.get_distance(0, 1) == pytest.approx(2.3 * 2 ** (1 / 6), abs=1e-4)
    assert result.energy == pytest.approx(-0.2, abs=1e-8)
    assert start.get_distance(0, 1) > 2.8 and start.calc is None


def test_cell_relaxation_finds_the_lattice_constant_and_holds_a_pressure():
    crystal = bulk("Ar", "fcc", a=3.9, cubic=True)
    crystal.rattle(0.05, seed=0)
    result = relax(crystal, pair_potential(), fmax=1e-4, cell=True)
    state = equation_of_state(bulk("Ar", "fcc", a=3.6, cubic=True), reference_calculator())
    assert result.is_converged
    assert result.atoms.cell.lengths() == pytest.approx([state.lattice_constant] * 3, abs=1e-3)
    assert abs(result.pressure_gpa) < 0.01
    pressed = relax(crystal, pair_potential(), fmax=1e-4, cell=True, pressure_gpa=5.0)
    assert pressed.pressure_gpa == pytest.approx(5.0, abs=0.01)


def test_constraints_hold_and_lack_of_steps_is_said():
    atoms = bulk("Ar", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=0)
    atoms.set_constraint(FixAtoms([0]))
    result = relax(atoms, pair_potential(), fmax=1e-4)
    assert np.array_equal(result.atoms.positions[0], atoms.positions[0]) and result.is_converged
    assert not relax(atoms, pair_potential(), fmax=1e-6, steps=1).is_converged


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"optimizer": "newton"}, "bfgs"),
        ({"fmax": 0.0}, "above 0"),
        ({"pressure_gpa": 1.0}, "no effect"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, words):
    with pytest.raises(UsageError, match=words):
        relax(bulk("Ar", a=3.6), pair_potential(), **arguments)
    with pytest.raises(UsageError, match="periodic"):
        relax(Atoms("Ar2", [[0, 0, 0], [2.6, 0, 0]]), pair_potential(), cell=True)
