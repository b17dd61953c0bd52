"""The inference engine against the potential it was compiled from."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from equipot.engine import CompiledPotential, NotCompiled, compile_potential
from equipot.errors import StructureError, UsageError
from equipot.graph import from_ase, neighbor_list
from equipot.kernels import selection
from equipot.kernels.native import library
from equipot.models import Potential, resolve_options
from tests.systems import ARCHITECTURES, STRUCTURES, force_scale, make_potential
from tests.tolerances import TWIN

pytestmark = pytest.mark.skipif(isinstance(library.load(), str), reason="the native kernels were not built")

CASES = {
    **STRUCTURES,
    "isolated atoms": lambda: Atoms("HCu", [[0, 0, 0], [9, 0, 0]]),
    "empty": lambda: Atoms(),
    "no cell, one bond": lambda: Atoms("AuC", [[0, 0, 0], [1.1, 0.9, 1.0]]),
}
SKIN = 0.4


@cache
def potential_of(name: str, dtype: str, zbl: bool = True, exact: bool = True) -> Potential:
    architecture, options = ARCHITECTURES[name]
    splines = {"radial": "spline"} if "radial" in resolve_options(architecture, None, {}) else {}
    ARCHITECTURES["of this test"] = (architecture, {**options, **splines})
    try:
        return make_potential("of this test", dtype, zbl=zbl, exact_isolated_atoms=exact)
    finally:
        del ARCHITECTURES["of this test"]


@cache
def compiled(name: str, dtype: str, zbl: bool = True, exact: bool = True) -> CompiledPotential:
    return compile_potential(potential_of(name, dtype, zbl, exact))


def engine_results(engine: CompiledPotential, atoms: Atoms, cutoff: float = 4.0, **options):
    neighbors = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff + SKIN)
    return engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, neighbors, node_virial=True, **options)


def reference_results(potential: Potential, atoms: Atoms):
    with selection.use("reference"):
        return potential(from_ase(atoms, potential.cutoff), virial=True, node_virial=True)


def largest_differences(found, expected) -> dict[str, float]:
    pairs = {
        name: (getattr(found, name), getattr(expected, name).numpy())
        for name in ("node_energy", "forces", "virial", "node_virial")
    }
    pairs["virial"] = (pairs["virial"][0], pairs["virial"][1][0])
    return {name: float(np.abs(a - b).max(initial=0.0)) for name, (a, b) in pairs.items()}


@pytest.mark.parametrize("structure", CASES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_potential_in_float64(name: str, structure: str) -> None:
    atoms = CASES[structure]()
    differences = largest_differences(
        engine_results(compiled(name, "float64"), atoms), reference_results(potential_of(name, "float64"), atoms)
    )
    assert max(differences.values()) < 1e-10, differences


@pytest.mark.parametrize("zbl", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("structure", ["molecule", "cell below the cutoff", "isolated atoms"])
def test_equals_the_potential_with_and_without_its_terms(structure: str, exact: bool, zbl: bool) -> None:
    atoms = CASES[structure]()
    differences = largest_differences(
        engine_results(compiled("mace", "float64", zbl, exact), atoms),
        reference_results(potential_of("mace", "float64", zbl, exact), atoms),
    )
    assert max(differences.values()) < 1e-10, differences


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_float32_is_as_near_its_twin_as_torch_is(name: str, structure: str) -> None:
    atoms = CASES[structure]()
    expected = reference_results(potential_of(name, "float64"), atoms)
    found = engine_results(compiled(name, "float32"), atoms)
    differences = largest_differences(found, expected)
    assert differences["node_energy"] < TWIN.e
    assert differences["forces"] < TWIN.f * force_scale(expected.forces)


def test_threads_do_not_change_the_numbers() -> None:
    atoms = bulk("Cu", cubic=True, a=3.8) * (3, 3, 3)
    atoms.symbols[::4] = "Au"
    atoms.rattle(0.1, seed=3)
    for name in ("nequip", "mace density residual"):
        one, two = (engine_results(compiled(name, "float64"), atoms, num_threads=n) for n in (1, 2))
        for field in ("node_energy", "forces", "virial", "node_virial"):
            np.testing.assert_allclose(getattr(one, field), getattr(two, field), rtol=0, atol=1e-11)


def test_large_structures_are_reordered_within_and_come_out_in_order() -> None:
    cell = bulk("Cu", cubic=True, a=3.8) * (2, 2, 2)
    cell.symbols[::3] = "Au"
    cell.rattle(0.1, seed=5)
    large = cell * (5, 5, 6)
    assert len(large) > 4096
    large.positions += large.cell.array[0]  # outside of the cell
    engine = compiled("nequip", "float64")
    one, many = engine_results(engine, cell), engine_results(engine, large)
    copies = len(large) // len(cell)
    np.testing.assert_allclose(many.forces, np.tile(one.forces, (copies, 1)), rtol=0, atol=1e-10)
    np.testing.assert_allclose(many.node_energy, np.tile(one.node_energy, copies), rtol=0, atol=1e-10)
    np.testing.assert_allclose(many.virial, copies * one.virial, rtol=0, atol=1e-7)


@pytest.mark.parametrize("structure", ["alloy", "cell below the cutoff", "molecule"])
def test_a_kept_list_serves_moved_atoms_and_strained_cells(structure: str) -> None:
    atoms, engine = CASES[structure](), compiled("nequip", "float64")
    neighbors = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 4.0 + 1.0)
    for step in range(3):
        atoms.set_cell(atoms.cell.array * (1 + 0.004 * step), scale_atoms=True)
        atoms.rattle(0.05, seed=step)
        found = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, neighbors)
        expected = engine_results(engine, atoms)
        engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, neighbors)
        np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-11)
        np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-10)


def test_derivatives_that_are_not_wanted_are_none() -> None:
    atoms, engine = CASES["alloy"](), compiled("mace", "float64")
    neighbors = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 4.5)
    everything = engine_results(engine, atoms)
    arguments = (atoms.numbers, atoms.positions, atoms.cell.array, neighbors)
    alone = engine.evaluate(*arguments, forces=False, virial=False)
    assert alone.forces is None and alone.virial is None and alone.node_virial is None
    np.testing.assert_allclose(alone.node_energy, everything.node_energy, rtol=0, atol=1e-12)
    virial = engine.evaluate(*arguments, forces=False)
    np.testing.assert_allclose(virial.virial, everything.virial, rtol=0, atol=1e-12)


def test_compiled_for_some_elements_only() -> None:
    atoms, potential = CASES["alloy"](), potential_of("mace", "float64")
    engine = compile_potential(potential, ("Cu", "Au"))
    differences = largest_differences(engine_results(engine, atoms), reference_results(potential, atoms))
    assert max(differences.values()) < 1e-10, differences
    with pytest.raises(UsageError, match="compiled for structures of Cu, Au; atom 1 has atomic number 6"):
        engine_results(engine, CASES["no cell, one bond"]())


def test_radial_networks_are_tabulated_in_float32_and_on_request() -> None:
    atoms, potential = CASES["alloy"](), make_potential("mace", "float64")
    expected = reference_results(potential, atoms)
    with pytest.raises(NotCompiled, match="radial: spline"):
        compile_potential(potential)
    scale = force_scale(expected.forces)
    found = engine_results(compile_potential(potential, tabulate=True), atoms)
    assert largest_differences(found, expected)["forces"] < 1e-5 * scale
    found = engine_results(compile_potential(potential.to_dtype("float32")), atoms)
    assert largest_differences(found, expected)["forces"] < TWIN.f * scale


def test_atoms_too_close_are_named() -> None:
    atoms = Atoms("CuAuCu", [[0, 0, 0], [2.5, 0, 0], [2.5, 0.01, 0]])
    with pytest.raises(StructureError, match=r"atoms 1 and 2 are 0\.01 Å apart"):
        engine_results(compiled("nequip", "float64"), atoms, min_distance=0.05)


def test_what_the_engine_does_not_know_is_refused() -> None:
    class Other(torch.nn.Module):
        pass

    potential = make_potential("nequip", "float32")
    potential.architecture = Other()
    with pytest.raises(NotCompiled, match="does not know the architecture Other"):
        compile_potential(potential)


def test_weights_are_those_of_the_compilation() -> None:
    atoms = CASES["alloy"]()
    potential = make_potential("mace spline" if "mace spline" in ARCHITECTURES else "mace", "float32")
    engine = compile_potential(potential)
    before = engine_results(engine, atoms)
    with torch.no_grad():
        potential.architecture.embedding.mul_(2.0)
    np.testing.assert_array_equal(engine_results(engine, atoms).forces, before.forces)
    assert np.abs(engine_results(compile_potential(potential), atoms).forces - before.forces).max() > 1e-3
