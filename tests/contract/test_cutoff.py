"""Group C: nothing jumps at the cutoff, nothing reaches beyond it, atoms never fall into each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from equipot.graph import collate, from_ase
from equipot.models import Potential
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential
from tests.tolerances import BATCHING, CUTOFF_FORCE

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def dimer(potential: Potential, distance: float, pair: str = "CuO") -> tuple[float, float]:
    """Energy and the force along the bond on the second atom."""
    output = potential(from_ase(Atoms(pair, [[0, 0, 0], [0, 0, distance]]), CUTOFF))
    return float(output.energy), float(output.forces[1, 2])


@EVERY
def test_dimer_beyond_the_cutoff_is_two_atoms(name: str) -> None:
    potential = make_potential(name)
    expected = float(potential.atomic_energies[2] + potential.atomic_energies[3])
    for distance in (CUTOFF, CUTOFF + 1e-9, CUTOFF + 1.0):
        assert dimer(potential, distance) == (expected, 0.0)


@EVERY
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_dimer_vanishes_smoothly_at_the_cutoff(name: str, dtype: str) -> None:
    potential = make_potential(name, dtype)
    isolated = float(potential.atomic_energies[2] + potential.atomic_energies[3])
    energy, force = dimer(potential, CUTOFF - 1e-3)
    assert abs(energy - isolated) <= (1e-7 if dtype == "float64" else 1e-5)
    assert abs(force) <= CUTOFF_FORCE
    if dtype == "float64":  # the envelope's (1 - x)^3: a force quadratic in the distance to the cutoff
        assert abs(force / dimer(potential, CUTOFF - 5e-4)[1] - 4) <= 0.1
    # Far inside, there is something to vanish.
    assert abs(dimer(potential, 0.6 * CUTOFF)[0] - isolated) > 1e-2


@EVERY
def test_second_derivative_is_continuous_at_the_cutoff(name: str) -> None:
    potential, step = make_potential(name), 1e-5
    curvature = (dimer(potential, CUTOFF - 2 * step)[1] - dimer(potential, CUTOFF - step)[1]) / step
    assert abs(curvature) <= 1e-2  # goes like (cutoff - r); the next line sees that it does
    closer = (dimer(potential, CUTOFF - step / 5)[1] - dimer(potential, CUTOFF - step / 10)[1]) / (step / 10)
    assert abs(closer) <= abs(curvature) / 5 + 1e-8


@EVERY
def test_third_atom_crossing_the_cutoff(name: str) -> None:
    potential = make_potential(name)

    def triple(distance: float):
        atoms = Atoms("CuAuO", [[0, 0, 0], [0, 0, 2.2], [0, distance, 0]])
        return potential(from_ase(atoms, CUTOFF))

    inside, outside = triple(CUTOFF - 1e-6), triple(CUTOFF + 1e-6)
    assert abs(float(inside.energy - outside.energy)) <= 1e-9
    assert float((inside.forces - outside.forces).abs().max()) <= 1e-7


@EVERY
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_edges_beyond_the_cutoff_contribute_nothing(name: str, dtype: str) -> None:
    potential, atoms = make_potential(name, dtype), STRUCTURES["alloy"]()
    exact, wide = potential(from_ase(atoms, CUTOFF)), potential(from_ase(atoms, CUTOFF + 1.5))
    assert abs(float(exact.energy - wide.energy)) / len(atoms) <= BATCHING[dtype].e
    assert float((exact.forces - wide.forces).abs().max()) / force_scale(exact.forces) <= BATCHING[dtype].f


@EVERY
def test_nothing_reaches_beyond_layers_times_cutoff(name: str) -> None:
    potential = make_potential(name)
    layers = len(potential.architecture.layers)
    chain = Atoms("Cu" * 40, [[0, 0, 2.3 * k] for k in range(40)])
    reach = int(np.floor(layers * CUTOFF / 2.3)) + 1
    before = potential(from_ase(chain, CUTOFF))
    chain.positions[0, 0] += 0.3
    after = potential(from_ase(chain, CUTOFF))
    assert torch.equal(before.node_energy[reach:], after.node_energy[reach:])
    assert not torch.equal(before.node_energy[1], after.node_energy[1])


@EVERY
def test_core_repulsion_is_a_wall(name: str) -> None:
    potential = make_potential(name, scale=0.1)
    distances = np.linspace(0.15, 0.8, 30)
    energies, forces = np.array([dimer(potential, distance) for distance in distances]).T
    assert np.isfinite(energies).all() and (np.diff(energies) < 0).all() and (forces > 0).all()


def test_zbl_against_the_published_formula() -> None:
    """Cu-Au at 0.5 Angstrom, where the switch is 1 to the digits shown, by hand."""
    potential = make_potential("mace", scale=0.0)
    with torch.no_grad():
        potential.shift.zero_()
    distance, a = 0.5, 0.8854 * 0.529177210903 / (29**0.23 + 79**0.23)
    terms = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))
    expected = 14.3996454784255 * 29 * 79 / distance * sum(c * np.exp(-d * distance / a) for c, d in terms)
    found = dimer(potential, distance, "CuAu")[0] - float(potential.atomic_energies[[3, 4]].sum())
    assert abs(found / expected - 1) < 1e-3


@EVERY
def test_curve_has_no_kinks(name: str) -> None:
    """The slope of a dimer's force (its second derivative) changes little between points: a kink would stand out."""
    potential = make_potential(name)
    distances = np.arange(1.8, CUTOFF + 0.2, 1e-2)
    graphs = [from_ase(Atoms("CuO", [[0, 0, 0], [0, 0, distance]]), CUTOFF) for distance in distances]
    forces = potential(collate(graphs)).forces[1::2, 2].numpy()
    slopes = np.diff(forces)
    assert np.abs(np.diff(slopes)).max() <= 0.15 * np.abs(slopes).max()
