"""Small labelled Cu-Au graphs, tiny potentials and configurations for the tests of training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from torch import nn

from equipot.config import from_dict
from equipot.graph import AtomicGraph, from_ase
from equipot.models import ModelOutput, Potential, PotentialConfig, build_potential
from equipot.units import voigt_to_matrix

CUTOFF = 4.0
#: EMT's energies are relative to the bulk, so that these are fair atomic energies for a test.
ATOMIC_ENERGIES = {"Cu": 3.5, "Au": 3.8}


def graph_of(atoms: Atoms, *, labels: str = "efs", **kwargs: Any) -> AtomicGraph:
    """Label a structure with EMT; ``labels`` says which of energy, forces and stress to keep."""
    labelled = atoms.copy()
    labelled.calc = EMT()
    given = {"e": ("energy", labelled.get_potential_energy()), "f": ("forces", labelled.get_forces())}
    if "s" in labels:
        given["s"] = ("stress", voigt_to_matrix(labelled.get_stress()))
    return from_ase(atoms, CUTOFF, **dict(given[label] for label in labels), **kwargs)


def crystals(count: int, *, seed: int = 0, labels: str = "efs") -> list[AtomicGraph]:
    """Rattled fcc crystals of 1 to 4 atoms, alternately of config_type ``one`` and ``two``."""
    random = np.random.default_rng(seed)
    graphs = []
    for k in range(count):
        atoms = bulk("Cu", "fcc", a=3.7, cubic=k % 3 > 0)
        if k % 3 == 0:
            atoms *= (1, 1, 2)
        atoms.symbols[0] = "Au" if k % 2 else "Cu"
        atoms.positions += random.normal(scale=0.1, size=atoms.positions.shape)
        graphs.append(
            graph_of(atoms, labels=labels, config_type=("one", "two")[k % 2], source=f"made.xyz frame {k}", frame_id=k)
        )
    return graphs


def molecule(labels: str = "ef", **kwargs: Any) -> AtomicGraph:
    """A Cu3 cluster without a cell."""
    atoms = Atoms("Cu3", positions=[(0, 0, 0), (2.4, 0, 0), (0.3, 2.5, 0.2)])
    return graph_of(atoms, labels=labels, config_type="cluster", source="molecule.xyz frame 0", **kwargs)


def datasets(num_train: int = 8, num_validation: int = 3, **kwargs: Any) -> SimpleNamespace:
    """What ``fit`` needs of data.DataSets."""
    graphs = crystals(num_train + num_validation, **kwargs)
    return SimpleNamespace(
        train=graphs[:num_train], validation=graphs[num_train:], statistics=SimpleNamespace(forces_rms=1.0)
    )


class PairPotential(nn.Module):
    """A trainable pair potential with the interface of Potential: small enough to follow by hand."""

    def __init__(self, seed: int = 0, width: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.hidden = nn.Parameter(torch.randn(width, 4, generator=generator, dtype=torch.float64) / 2)
        self.bias = nn.Parameter(torch.zeros(width, dtype=torch.float64))
        self.out = nn.Parameter(torch.randn(1, width, generator=generator, dtype=torch.float64) / width)

    def learning_rate_factors(self) -> dict[str, float]:
        return {"hidden": 0.5, "bias": 1.0, "out": self.out.shape[1] ** -0.5}

    def num_trainable_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self, graph: AtomicGraph, *, forces: bool = True, stress: bool = True, create_graph: bool = False, **_: Any
    ) -> ModelOutput:
        vectors = graph.edge_vectors().detach()
        center, neighbor = graph.edge_index
        with torch.enable_grad():
            vectors.requires_grad_()
            length = vectors.norm(dim=1)
            powers = torch.stack([(length / CUTOFF) ** k for k in range(1, 5)], dim=1)
            pair = torch.tanh(powers @ self.hidden.T + self.bias) @ self.out.T * (1 - length / CUTOFF)[:, None] ** 2
            node_energy = vectors.new_zeros(graph.num_nodes).index_add(0, center, pair[:, 0])
            gradient = torch.autograd.grad(node_energy.sum(), vectors, create_graph=create_graph)[0]
            energy = node_energy.new_zeros(graph.num_graphs).index_add(0, graph.graph_index, node_energy)
            output = ModelOutput(energy=energy, node_energy=node_energy)
            if forces:
                zeros = torch.zeros_like(graph.positions)
                output.forces = zeros.index_add(0, center, gradient) - zeros.index_add(0, neighbor, gradient)
            if stress:
                outer = (vectors.detach()[:, :, None] * gradient[:, None, :]).flatten(1)
                total = outer.new_zeros(graph.num_graphs, 9).index_add(0, graph.graph_index[center], outer)
                volume = torch.linalg.det(graph.cell).abs()[:, None, None]
                stress = (total.view(-1, 3, 3) + total.view(-1, 3, 3).mT) / 2
                output.stress = torch.where(volume > 0, stress / volume.clamp(min=1e-300), torch.nan)
        if not create_graph:
            output = ModelOutput(
                **{name: None if value is None else value.detach() for name, value in vars(output).items()}
            )
        return output


def real_potential(architecture: str = "nequip", dtype: str = "float64", seed: int = 0, **options: Any) -> Potential:
    """A tiny Potential of a registered architecture."""
    sizes = {"num_channels": 4, "l_max": 1, "num_layers": 2, **options}
    config = PotentialConfig(architecture, ("Cu", "Au"), CUTOFF, 12.0, dtype=dtype, options=sizes)
    return build_potential(config, atomic_energies=ATOMIC_ENERGIES, scale=1.0, shift=-3.5, seed=seed)


def config(**sections: Any) -> Any:
    """A configuration for short runs: sections as mappings, single keys as they are."""
    base: dict[str, Any] = {
        "seed": 3,
        "device": "cpu",
        "data": {"train": ["made.xyz"]},
        "schedule": {"warmup_steps": 4},
        "training": {"epochs": 4, "batch_size": 3, "checkpoint_minutes": 60.0},
    }
    for name, value in sections.items():
        base[name] = {**base.get(name, {}), **value} if isinstance(value, dict) else value
    return from_dict(base)


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics rows with everything but what a clock said."""
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
