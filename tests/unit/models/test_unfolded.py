"""Virials for the heat flux: their definition in the infinite structure, and what they have to do with motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from equipot.errors import UsageError
from equipot.graph import collate, from_ase
from equipot.models import Potential
from equipot.models.unfolded import centroid_virials
from tests.systems import STRUCTURES, make_potential
from tests.tolerances import HEAT_FLUX, HEAT_FLUX_DIFFERENCE


def piece(atoms: Atoms, reach: float) -> tuple[Atoms, np.ndarray]:
    """The infinite structure up to ``reach`` from any of the atoms, which come first; and how far each atom is."""
    copies = [0, 0, 0]
    if atoms.pbc.any():
        heights = 1.0 / np.linalg.norm(atoms.cell.complete().reciprocal(), axis=1)
        copies = np.where(atoms.pbc, np.ceil(reach / heights).astype(int) + 1, 0)
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in copies), indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = shifts[np.argsort(np.abs(shifts).sum(1), kind="stable")]
    positions = (atoms.positions[None] + (shifts @ atoms.cell.array)[:, None]).reshape(-1, 3)
    distance = np.linalg.norm(positions[:, None] - atoms.positions[None], axis=2).min(axis=1)
    keep = distance <= reach + 1e-6
    return Atoms(np.tile(atoms.numbers, len(shifts))[keep], positions[keep]), distance[keep]


def direct(potential: Potential, atoms: Atoms) -> np.ndarray:
    """sum_i (r_i - r_j) (x) dU_i/dr_j with every atom i whose energy the atoms j of the cell come into."""
    reach = potential.num_layers * potential.cutoff
    cluster, distance = piece(atoms, 2 * reach)
    graph = from_ase(cluster, potential.cutoff)
    positions = graph.positions.clone().requires_grad_()
    vectors = positions[graph.edge_index[1]] - positions[graph.edge_index[0]]
    energies = potential.node_energies(potential.species(graph.atomic_numbers), *graph.edge_index, vectors)
    energies = energies * torch.as_tensor(distance <= reach + 1e-6)
    virials = np.empty((len(atoms), 3, 3))
    (forces,) = torch.autograd.grad(energies.sum(), positions, retain_graph=True)
    for a in range(3):
        moment = (energies * positions.detach()[:, a]).sum()
        (gradient,) = torch.autograd.grad(moment, positions, retain_graph=True)
        virials[:, a] = (gradient - positions[:, a : a + 1] * forces)[: len(atoms)].detach().numpy()
    return virials


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("nequip spline", "skewed cell"),
        ("nequip spline", "cell below the cutoff"),
        ("mace spline", "slab"),
        ("mace density residual", "molecule"),
        ("mace density residual", "slab"),
    ],
)
def test_they_are_what_the_infinite_structure_gives(name: str, structure: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES[structure]()
    graph = from_ase(atoms, potential.cutoff)
    found = centroid_virials(potential, graph)
    expected = direct(potential, atoms)
    assert np.abs(found.numpy() - expected).max() < HEAT_FLUX * max(1.0, np.abs(expected).max())
    total = potential(graph, virial=True).virial[0]
    assert float((found.sum(0) - total).abs().max()) < HEAT_FLUX * max(1.0, float(total.abs().max()))


def difference_to_motion(potential: Potential, virials: np.ndarray, atoms: Atoms, seed: int = 0) -> float:
    """How far sum_j W_j v_j is from sum_i r_i dE_i/dt, E_i potential and kinetic energies, by differences in time."""
    velocities = np.random.default_rng(seed).normal(size=(len(atoms), 3))

    def output(time: float):
        moved = atoms.copy()
        moved.positions += time * velocities
        return potential(from_ase(moved, potential.cutoff), stress=False)

    step = 1e-4
    rate = (output(step).node_energy - output(-step).node_energy).numpy() / (2 * step)
    work = (output(0.0).forces.numpy() * velocities).sum(axis=1)
    expected = (rate + work) @ atoms.positions
    return float(np.abs(np.einsum("jab,jb->a", virials, velocities) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", ["nequip", "mace density residual"])
def test_they_move_the_barycentre_of_a_molecules_energy(name: str) -> None:
    potential, atoms = make_potential(name), STRUCTURES["molecule"]()
    graph = from_ase(atoms, potential.cutoff)
    assert difference_to_motion(potential, centroid_virials(potential, graph).numpy(), atoms) < HEAT_FLUX_DIFFERENCE
    shared = potential(graph, node_virial=True).node_virial.numpy()  # half of every edge at each end: not the flux
    assert difference_to_motion(potential, shared, atoms) > 100 * HEAT_FLUX_DIFFERENCE


def test_structures_of_a_batch_do_not_meet() -> None:
    potential = make_potential("nequip spline")
    graphs = [from_ase(STRUCTURES[name](), potential.cutoff) for name in ("alloy", "molecule", "slab")]
    alone = torch.cat([centroid_virials(potential, graph) for graph in graphs])
    assert float((centroid_virials(potential, collate(graphs)) - alone).abs().max()) < HEAT_FLUX
    assert centroid_virials(potential, from_ase(Atoms(), potential.cutoff)).shape == (0, 3, 3)


def test_an_architecture_of_unknown_reach_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    potential = make_potential("nequip spline")
    graph = from_ase(STRUCTURES["alloy"](), potential.cutoff)
    monkeypatch.setattr(type(potential), "num_layers", None)
    with pytest.raises(UsageError, match="how far an atom's energy reaches, and NequIP does not tell"):
        centroid_virials(potential, graph)
