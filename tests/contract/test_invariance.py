"""Groups P and X: every registered architecture has the symmetries of physics, in float64 and float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from equipot.graph import collate, from_ase
from equipot.models import ModelOutput, Potential
from equipot.nn import SpeciesLinear, SymmetricProduct
from tests.systems import ARCHITECTURES, CUTOFF, ELEMENTS, STRUCTURES, force_scale, make_potential
from tests.tolerances import BATCHING, INVARIANCE, NET_FORCE, Tolerance

DTYPES = ("float64", "float32")


@pytest.fixture(scope="module", params=[(name, dtype) for name in ARCHITECTURES for dtype in DTYPES], ids=str)
def case(request: pytest.FixtureRequest) -> tuple[Potential, str, str]:
    name, dtype = request.param
    return make_potential(name, dtype), name, dtype


@pytest.fixture(params=STRUCTURES)
def atoms(request: pytest.FixtureRequest) -> Atoms:
    return STRUCTURES[request.param]()


def run(potential: Potential, atoms: Atoms) -> ModelOutput:
    return potential(from_ase(atoms, CUTOFF), virial=True, node_virial=True)


def assert_same(
    one: ModelOutput,
    two: ModelOutput,
    tolerance: Tolerance,
    *,
    rotation: np.ndarray | None = None,
    order: np.ndarray | None = None,
    copies: int = 1,
) -> None:
    """``two`` is ``one`` rotated by ``rotation``, with atoms reordered, or repeated ``copies`` times."""
    matrix = torch.eye(3, dtype=torch.float64) if rotation is None else torch.as_tensor(rotation)
    forces, stress = one.forces @ matrix.T, matrix @ one.stress @ matrix.T
    index = torch.arange(len(forces)) if order is None else torch.as_tensor(order)
    num_atoms = max(len(forces), 1)
    assert abs(float(two.energy - copies * one.energy)) / (num_atoms * copies) <= tolerance.e
    assert float((two.forces - forces[index].repeat(copies, 1)).abs().max()) / force_scale(forces) <= tolerance.f
    if torch.isfinite(stress).all():
        assert float((two.stress - stress).abs().max()) <= tolerance.s


def test_results_are_of_the_size_tolerances_assume(case, atoms) -> None:
    """Guards the guards: a potential that returns next to nothing would pass everything below."""
    output = run(case[0], atoms)
    assert force_scale(output.forces) > 0.1 and float(output.node_energy.std()) > 1e-3


def test_rotation(case, atoms) -> None:
    potential, _, dtype = case
    before = run(potential, atoms)
    for seed in range(4):
        rotation = Rotation.random(random_state=seed).as_matrix()
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ rotation.T)
        turned.positions = atoms.positions @ rotation.T
        assert_same(before, run(potential, turned), INVARIANCE[dtype], rotation=rotation)


def test_inversion_and_mirror(case, atoms) -> None:
    potential, name, dtype = case
    before = run(potential, atoms)
    mirror = Rotation.random(random_state=9).as_matrix() @ np.diag([1.0, 1.0, -1.0])
    for improper in (-np.eye(3), mirror):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ improper.T)
        turned.positions = atoms.positions @ improper.T
        after = run(potential, turned)
        if name == "nequip rotations only":
            continue  # SO(3) models tell left from right; that they do is asserted below.
        assert_same(before, after, INVARIANCE[dtype], rotation=improper)


def test_only_the_rotation_group_model_tells_left_from_right() -> None:
    atoms = STRUCTURES["alloy"]()
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell.array * [1, 1, -1])
    mirrored.positions[:, 2] *= -1
    for name in ARCHITECTURES:
        potential = make_potential(name)
        difference = abs(float(run(potential, atoms).energy - run(potential, mirrored).energy))
        assert (difference > 1e-8) == (name == "nequip rotations only"), (name, difference)


@pytest.mark.parametrize("distance", [1.0, 100.0, 10_000.0])
def test_translation(case, atoms, distance) -> None:
    potential, _, dtype = case
    moved = atoms.copy()
    moved.positions += distance * np.array([0.6, -0.64, 0.48])
    tolerance = INVARIANCE[dtype]
    if distance > 1000:  # positions themselves are rounded to 2e-12 Angstrom there
        tolerance = Tolerance(max(tolerance.e, 1e-11), max(tolerance.f, 1e-9), max(tolerance.s, 1e-11))
    assert_same(run(potential, atoms), run(potential, moved), tolerance)


def test_permutation(case, atoms) -> None:
    potential, _, dtype = case
    order = np.random.default_rng(2).permutation(len(atoms))
    assert_same(run(potential, atoms), run(potential, atoms[order]), INVARIANCE[dtype], order=order)


def test_moving_atoms_by_lattice_vectors(case, atoms) -> None:
    potential, _, dtype = case
    shifts = np.random.default_rng(3).integers(-50, 51, size=(len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions += shifts @ atoms.cell.array
    assert_same(run(potential, atoms), run(potential, moved), INVARIANCE[dtype])


@pytest.mark.parametrize("repeat", [(2, 1, 1), (1, 3, 2)])
def test_supercells(case, repeat) -> None:
    potential, _, dtype = case
    for name in ("alloy", "cell below the cutoff"):
        atoms = STRUCTURES[name]()
        after = run(potential, atoms * repeat)
        assert_same(run(potential, atoms), after, INVARIANCE[dtype], copies=int(np.prod(repeat)))


def test_equivalent_cells(case) -> None:
    potential, _, dtype = case
    atoms = STRUCTURES["alloy"]()
    before = run(potential, atoms)
    skewed, swapped = [[1, 0, 0], [2, 1, 0], [0, -1, 1]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    left_handed = [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for matrix in (skewed, swapped, left_handed):
        other = atoms.copy()
        other.set_cell(np.array(matrix) @ atoms.cell.array)
        assert_same(before, run(potential, other), INVARIANCE[dtype])


def test_no_net_force_or_torque_and_symmetric_stress(case, atoms) -> None:
    potential, _, dtype = case
    output = run(potential, atoms)
    limit = NET_FORCE[dtype] * max(force_scale(output.forces), 1.0)
    assert float(output.forces.sum(0).abs().max()) <= limit * len(atoms)
    if not atoms.pbc.any():
        torque = np.cross(atoms.positions - atoms.positions.mean(0), output.forces.numpy()).sum(0)
        assert np.abs(torque).max() <= limit * len(atoms) * 10
    assert torch.equal(output.virial, output.virial.transpose(1, 2))


def test_per_atom_parts_sum_to_the_whole(case, atoms) -> None:
    output = run(case[0], atoms)
    assert abs(float(output.node_energy.sum() - output.energy)) <= 1e-10
    assert float((output.node_virial.sum(0) - output.virial[0]).abs().max()) <= 1e-10
    if atoms.cell.rank == 3:
        assert torch.allclose(output.stress, -output.virial / atoms.get_volume(), atol=1e-14)
    else:
        assert output.stress.isnan().all()


def test_batch_equals_one_by_one(case) -> None:
    potential, _, dtype = case
    structures = [make() for make in STRUCTURES.values()]
    structures += [Atoms("Cu"), Atoms(), Atoms("OAu", [[0, 0, 0], [0, 0, 9.0]])]
    order = np.random.default_rng(1).permutation(len(structures))
    structures = [structures[k] for k in order]
    graphs = [from_ase(atoms, CUTOFF) for atoms in structures]
    batched = potential(collate(graphs))
    start = 0
    for k, (atoms, graph) in enumerate(zip(structures, graphs)):
        alone = potential(graph)
        part = ModelOutput(
            energy=batched.energy[k : k + 1], node_energy=batched.node_energy[start : start + len(atoms)],
            forces=batched.forces[start : start + len(atoms)], stress=batched.stress[k : k + 1],
        )
        start += len(atoms)
        if len(atoms):
            assert_same(alone, part, BATCHING[dtype])
        assert torch.equal(alone.stress.isnan(), part.stress.isnan())


def test_no_gradient_crosses_graphs(case) -> None:
    """Energies of one structure do not depend, not even by rounding, on the geometry of another in the batch."""
    potential = case[0]
    still, moving = STRUCTURES["alloy"](), STRUCTURES["molecule"]()
    before = potential(collate([from_ase(still, CUTOFF), from_ase(moving, CUTOFF)]))
    moving.positions += np.random.default_rng(0).normal(scale=0.01, size=moving.positions.shape)
    after = potential(collate([from_ase(still, CUTOFF), from_ase(moving, CUTOFF)]))
    num_atoms = len(still)
    assert torch.equal(before.forces[:num_atoms], after.forces[:num_atoms])
    assert torch.equal(before.energy[0], after.energy[0]) and not torch.equal(before.energy[1], after.energy[1])


def test_isolated_atoms_have_exactly_their_atomic_energy(case) -> None:
    potential = case[0]
    for element, energy in zip(ELEMENTS, potential.atomic_energies):
        output = potential(from_ase(Atoms(element, cell=[30, 30, 30], pbc=True), CUTOFF))
        assert float(output.energy) == float(energy)
        assert not output.forces.any() and not output.stress.any()


def test_distant_systems_add_up(case) -> None:
    potential, _, dtype = case
    one, two = STRUCTURES["molecule"](), STRUCTURES["molecule"]()[:5]
    both = one.copy()
    far = two.copy()
    far.positions += 50.0
    both += far
    together, first, second = run(potential, both), run(potential, one), run(potential, two)
    tolerance = BATCHING[dtype]
    assert abs(float(together.energy - first.energy - second.energy)) <= tolerance.e * len(both) * 10
    expected = torch.cat([first.forces, second.forces])
    assert float((together.forces - expected).abs().max()) / force_scale(expected) <= tolerance.f


def test_structures_without_atoms_or_edges(case) -> None:
    potential = case[0]
    empty = run(potential, Atoms())
    assert float(empty.energy) == 0.0 and empty.forces.shape == (0, 3)
    lonely = run(potential, Atoms("CuH", [[0, 0, 0], [0, 0, 20.0]]))
    assert float(lonely.energy) == float(potential.atomic_energies[[3, 0]].sum()) and not lonely.forces.any()


def test_same_call_twice_is_bitwise_equal_and_changes_nothing(case) -> None:
    potential, atoms = case[0], STRUCTURES["skewed cell"]()
    graph = from_ase(atoms, CUTOFF)
    copies = {name: value.clone() for name, value in graph.to_dict().items() if isinstance(value, torch.Tensor)}
    default, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    with torch.no_grad():
        one = potential(graph)
    two = potential(graph)
    for first, second in ((one.forces, two.forces), (one.energy, two.energy), (one.stress, two.stress)):
        assert torch.equal(first, second)
    assert not two.forces.requires_grad
    assert (default, threads, grad) == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    for name, value in copies.items():
        assert torch.equal(value, graph[name]) or (value.isnan().all() and graph[name].isnan().all()), name


def test_elements_that_are_not_there_do_not_matter() -> None:
    """Changing the weights of unused species leaves results bitwise the same."""
    for name in ARCHITECTURES:
        potential = make_potential(name)
        atoms = STRUCTURES["alloy"]()
        before = run(potential, atoms)
        with torch.no_grad():
            potential.architecture.embedding[:3] += 1.0
            for module in potential.modules():
                if isinstance(module, SpeciesLinear | SymmetricProduct):
                    for parameter in module.parameters():
                        parameter[:3] += 1.0
        after = run(potential, atoms)
        assert torch.equal(before.forces, after.forces), name
