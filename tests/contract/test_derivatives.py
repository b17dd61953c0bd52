"""Group G: forces, stress, Hessian and loss gradients are the derivatives they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from equipot.graph import from_ase
from equipot.models import Potential
from tests.systems import ARCHITECTURES, CUTOFF, STRUCTURES, force_scale, make_potential
from tests.tolerances import FORCE_DIFFERENCE, STRESS_DIFFERENCE, TWIN

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def energy(potential: Potential, atoms: Atoms) -> float:
    return float(potential(from_ase(atoms, CUTOFF), forces=False, stress=False).energy)


def central_difference(function, step: float) -> float:
    """Fourth-order derivative of ``function`` at 0."""
    near, far = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def moved(atoms: Atoms, atom: int, axis: int, distance: float) -> Atoms:
    copy = atoms.copy()
    copy.positions[atom, axis] += distance
    return copy


@EVERY
@pytest.mark.parametrize("structure", STRUCTURES)
def test_forces_are_minus_the_gradient(name: str, structure: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES[structure]()
    forces = potential(from_ase(atoms, CUTOFF)).forces
    for atom, axis in np.random.default_rng(0).permutation([(i, k) for i in range(len(atoms)) for k in range(3)])[:6]:
        slope = central_difference(lambda h, i=atom, k=axis: energy(potential, moved(atoms, i, k, h)), 1e-3)
        assert abs(slope + float(forces[atom, axis])) <= FORCE_DIFFERENCE * max(1.0, force_scale(forces))


@EVERY
@pytest.mark.parametrize("structure", ["alloy", "skewed cell", "cell below the cutoff"])
def test_stress_is_the_strain_derivative(name: str, structure: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES[structure]()
    stress = potential(from_ase(atoms, CUTOFF)).stress[0].numpy()

    def strained_energy(row: int, column: int, amount: float) -> float:
        deformation = np.eye(3)
        deformation[row, column] += amount / 2
        deformation[column, row] += amount / 2
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        return energy(potential, copy)

    for row, column in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        slope = central_difference(lambda h, r=row, c=column: strained_energy(r, c, h), 1e-4)
        assert abs(slope / atoms.get_volume() - stress[row, column]) <= STRESS_DIFFERENCE


@EVERY
def test_virial_of_a_molecule_is_minus_sum_of_position_and_force(name: str) -> None:
    """Without periodicity the virial is sum r (x) F, whatever the route."""
    atoms = STRUCTURES["molecule"]()
    output = make_potential(name)(from_ase(atoms, CUTOFF), stress=False, virial=True)
    expected = torch.tensor(atoms.positions).T @ output.forces
    assert torch.allclose(output.virial[0], expected, atol=1e-10)


@EVERY
def test_gradcheck_twice_on_a_cell_below_the_cutoff(name: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES["cell below the cutoff"]()
    graph = from_ase(atoms, 3.3)
    species = potential.species(graph.atomic_numbers)

    def total(positions: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        copy = graph.clone()
        copy.positions, copy.cell = positions, cell
        return potential.node_energies(species, *graph.edge_index, copy.edge_vectors()).sum()

    arguments = (graph.positions.clone().requires_grad_(), graph.cell.clone().requires_grad_())
    assert torch.autograd.gradcheck(total, arguments, fast_mode=True)
    assert torch.autograd.gradgradcheck(total, arguments, fast_mode=True)


@EVERY
def test_loss_gradient_through_forces_and_stress(name: str) -> None:
    potential = make_potential(name)
    graph = from_ase(STRUCTURES["alloy"](), CUTOFF)

    def loss(create_graph: bool) -> torch.Tensor:
        output = potential(graph, create_graph=create_graph)
        return output.forces.square().sum() + output.energy.square().sum() * 1e-4 + output.stress.square().sum() * 100

    loss(True).backward()
    generator = np.random.default_rng(0)
    for parameter_name, parameter in potential.named_parameters():
        if not parameter.requires_grad:
            continue
        position = tuple(generator.integers(size) for size in parameter.shape)
        analytic = float(parameter.grad[position])

        def shifted(amount: float, parameter=parameter, position=position) -> float:
            with torch.no_grad():
                parameter[position] += amount
                value = float(loss(False))
                parameter[position] -= amount
            return value

        numeric = central_difference(shifted, 1e-4)
        size = max(abs(analytic), float(parameter.grad.abs().max()), 1e-3)
        assert abs(numeric - analytic) <= 1e-5 * size, parameter_name


@EVERY
def test_hessian_is_symmetric_and_the_derivative_of_forces(name: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES["cell below the cutoff"]()
    hessian = potential.hessian(from_ase(atoms, CUTOFF))
    flat = hessian.reshape(6, 6)
    size = float(flat.abs().max())
    assert float((flat - flat.T).abs().max()) <= 1e-9 * max(size, 1)
    assert float(hessian.sum(0).abs().max()) <= 1e-9 * max(size, 1)  # acoustic sum rule
    forces = [potential(from_ase(moved(atoms, 0, 1, h), CUTOFF)).forces for h in (1e-4, -1e-4)]
    assert torch.allclose((forces[1] - forces[0]) / 2e-4, hessian[0, 1], atol=1e-4 * max(size, 1))


@EVERY
def test_float32_agrees_with_its_float64_twin(name: str) -> None:
    single = make_potential(name, "float32")
    double = single.to_dtype("float64")
    for make in STRUCTURES.values():
        graph = from_ase(make(), CUTOFF)
        one, two = single(graph), double(graph)
        assert abs(float(one.energy - two.energy)) / graph.num_nodes <= TWIN.e
        assert float((one.forces - two.forces).abs().max()) / force_scale(two.forces) <= TWIN.f
        if two.stress.isfinite().all():
            assert float((one.stress - two.stress).abs().max()) <= TWIN.s
        assert one.forces.dtype == torch.float64


@EVERY
def test_work_round_a_closed_loop_is_zero(name: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES["molecule"]()
    generator = np.random.default_rng(0)
    first, second = generator.normal(scale=0.02, size=(2, len(atoms), 3))
    work, angles = 0.0, np.linspace(0, 2 * np.pi, 101)[:-1]
    for angle in angles:
        copy = atoms.copy()
        copy.positions += np.cos(angle) * first + np.sin(angle) * second
        velocity = -np.sin(angle) * first + np.cos(angle) * second
        work += float((potential(from_ase(copy, CUTOFF), stress=False).forces.numpy() * velocity).sum())
    # The trapezoidal rule on a periodic smooth function converges faster than any power of the step.
    assert abs(work * 2 * np.pi / len(angles)) <= 1e-7


def test_planted_errors_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above can fail: a wrong sign of the stress, edges in float32, a wrong force."""
    from equipot.graph import AtomicGraph

    original = Potential._collect

    def wrong_stress(self, *arguments):
        output = original(self, *arguments)
        if output.stress is not None:
            output.stress = -output.stress
        return output

    def wrong_forces(self, *arguments):
        output = original(self, *arguments)
        if output.forces is not None:
            output.forces = 1.00001 * output.forces
        return output

    with monkeypatch.context() as patch:
        patch.setattr(Potential, "_collect", wrong_stress)
        with pytest.raises(AssertionError):
            test_stress_is_the_strain_derivative("mace", "alloy")
    with monkeypatch.context() as patch:
        patch.setattr(Potential, "_collect", wrong_forces)
        with pytest.raises(AssertionError):
            test_forces_are_minus_the_gradient("mace", "alloy")
    vectors = AtomicGraph.edge_vectors
    with monkeypatch.context() as patch:
        patch.setattr(AtomicGraph, "edge_vectors", lambda self: vectors(self).float().double())
        with pytest.raises(AssertionError):
            test_forces_are_minus_the_gradient("mace", "alloy")
