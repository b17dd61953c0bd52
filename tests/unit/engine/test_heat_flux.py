"""The engine's virials for the heat flux, on the folded structure, against their definition in the infinite one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import fs

from equipot.errors import ElementError
from equipot.graph import from_ase
from equipot.interfaces.ase import Calculator
from equipot.kernels.native import library
from equipot.models.unfolded import centroid_virials
from tests.systems import ARCHITECTURES, STRUCTURES, make_potential
from tests.tolerances import HEAT_FLUX, HEAT_FLUX_DIFFERENCE
from tests.unit.engine.test_engine import CASES, compiled, engine_results, potential_of

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")


def definition(name: str, atoms: Atoms, **terms: bool) -> np.ndarray:
    potential = potential_of(name, "float64", **terms)
    return centroid_virials(potential, from_ase(atoms, potential.cutoff)).numpy()


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = HEAT_FLUX) -> None:
    assert np.abs(found - expected).max(initial=0.0) < tolerance * max(1.0, np.abs(expected).max(initial=0.0))


@pytest.mark.parametrize("structure", CASES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_definition(name: str, structure: str) -> None:
    atoms = CASES[structure]()
    found = engine_results(compiled(name, "float64"), atoms, centroid_virial=True)
    assert_close(found.centroid_virial, definition(name, atoms))
    assert_close(found.centroid_virial.sum(0), found.virial)
    without = engine_results(compiled(name, "float64"), atoms)
    np.testing.assert_array_equal(found.forces, without.forces)
    assert without.centroid_virial is None


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("zbl", [False, True])
def test_with_and_without_the_terms_beside_the_network(zbl: bool, exact: bool) -> None:
    for structure in ("molecule", "cell below the cutoff"):
        atoms = CASES[structure]()
        found = engine_results(compiled("mace", "float64", zbl, exact), atoms, centroid_virial=True)
        assert_close(found.centroid_virial, definition("mace", atoms, zbl=zbl, exact=exact))


def test_float32() -> None:
    atoms = CASES["alloy"]()
    for name in ("nequip", "mace density residual"):
        found = engine_results(compiled(name, "float32"), atoms, centroid_virial=True)
        assert_close(found.centroid_virial, definition(name, atoms), 1e-5)


def test_large_structures_on_two_threads() -> None:
    cell = bulk("Cu", cubic=True, a=3.8) * (2, 1, 1)
    cell.symbols[::3] = "Au"
    cell.rattle(0.1, seed=5)
    large = cell * (4, 6, 6)
    found = engine_results(compiled("nequip", "float64"), large, centroid_virial=True, num_threads=2)
    assert_close(found.centroid_virial, np.tile(definition("nequip", cell), (144, 1, 1)), 10 * HEAT_FLUX)


def test_one_layer_reaches_its_neighbours_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the flux is that of a potential of neighbours: minus each edge's vector times gradient, at its end."""
    atoms = STRUCTURES["alloy"]()
    monkeypatch.setitem(
        ARCHITECTURES, "of this test", ("nequip", {**ARCHITECTURES["nequip spline"][1], "num_layers": 1})
    )
    potential = make_potential("of this test")
    graph = from_ase(atoms, potential.cutoff)
    found = Calculator(potential).get_centroid_virials(atoms)
    assert_close(found, centroid_virials(potential, graph).numpy())
    vector = graph.edge_vectors().requires_grad_()
    energies = potential.node_energies(potential.species(graph.atomic_numbers), *graph.edge_index, vector)
    (gradient,) = torch.autograd.grad(energies.sum(), vector)
    expected = torch.zeros(len(atoms), 3, 3, dtype=torch.float64)
    expected.index_add_(0, graph.edge_index[1], -vector.detach().unsqueeze(2) * gradient.unsqueeze(1))
    assert_close(found, expected.numpy())


def moving(structure: str) -> Atoms:
    atoms = STRUCTURES[structure]()
    atoms.set_velocities(np.random.default_rng(2).normal(scale=0.05, size=(len(atoms), 3)))
    return atoms


@pytest.mark.parametrize("kernels", ["native", "reference"])
def test_the_calculators_flux_is_the_motion_of_a_molecules_energy(kernels: str) -> None:
    atoms = moving("molecule")
    calculator = Calculator(make_potential("nequip spline"), kernels=kernels)
    atoms.calc = calculator
    masses, forces, step = atoms.get_masses()[:, None], atoms.get_forces(), 1e-3

    def barycenter(time: float) -> np.ndarray:
        """sum_i r_i e_i, to second order in time around now."""
        later = atoms.copy()
        later.positions += time * atoms.get_velocities() + 0.5 * time**2 * forces / masses
        velocities = atoms.get_velocities() + time * forces / masses
        kinetic = 0.5 * (masses * velocities**2).sum(axis=1)
        return (calculator.get_property("energies", later) + kinetic) @ later.positions

    expected = (barycenter(step) - barycenter(-step)) / (2 * step)
    found = calculator.get_heat_flux(atoms)
    assert np.abs(found - expected).max() < HEAT_FLUX_DIFFERENCE * np.abs(expected).max()
    carried = found - calculator.get_heat_flux(atoms, convective=False)
    kinetic = 0.5 * (masses * atoms.get_velocities() ** 2).sum(axis=1)
    assert_close(carried, (atoms.get_potential_energies() + kinetic) @ atoms.get_velocities())


def test_native_and_reference_calculators_agree_in_a_crystal() -> None:
    atoms, potential = moving("skewed cell"), make_potential("mace spline")
    native, reference = (Calculator(potential, kernels=kernels) for kernels in ("native", "reference"))
    assert_close(native.get_centroid_virials(atoms), reference.get_centroid_virials(atoms))
    assert_close(native.get_heat_flux(atoms), reference.get_heat_flux(atoms))


def test_the_virials_are_those_of_the_structure_asked_for() -> None:
    atoms, other = STRUCTURES["alloy"](), STRUCTURES["slab"]()
    calculator = Calculator(make_potential("nequip spline"))
    atoms.calc = calculator
    first = calculator.get_centroid_virials(atoms)
    first[:] = 0.0  # the caller's own
    first = calculator.get_centroid_virials(atoms)
    assert_close(first.sum(0), -atoms.get_volume() * atoms.get_stress(voigt=False))
    assert np.abs(calculator.get_centroid_virials(other)[:8] - first).max() > 1e-3
    atoms.positions[0] += 0.1
    atoms.get_forces()
    assert np.abs(calculator.get_centroid_virials(atoms) - first).max() > 1e-3
    SinglePointCalculator(atoms, **calculator.results)  # ASE knows all of the results
    calculator.export_properties()
    with pytest.raises(ElementError):
        calculator.get_centroid_virials(Atoms("Si2", [[0, 0, 0], [2, 0, 0]]))


def test_the_units_are_those_of_the_docstring() -> None:
    """One atom that flies alone carries its energies: in LAMMPS' units eV Angstrom/ps."""
    atoms = Atoms("Cu", velocities=[[0.3, 0, 0]])
    calculator = Calculator(make_potential("nequip spline"))
    energy = calculator.get_property("energy", atoms) + atoms.get_kinetic_energy()
    angstrom_per_ps = 0.3 * 1000 * fs
    assert calculator.get_heat_flux(atoms)[0] * 1000 * fs == pytest.approx(energy * angstrom_per_ps, rel=1e-12)
