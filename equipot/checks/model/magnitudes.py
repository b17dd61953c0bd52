"""How large the terms are that cancel in a structure's energy, forces and stress: what rounding is measured against.

The force on an atom is the sum of what every edge contributes. In a perfect crystal, or under strong compression, the
sum is far smaller than its terms, and it is the terms that float32 rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from equipot.checks.model.subject import PotentialSubject, Subject
from equipot.checks.model.tolerances import LEAST_ENERGY, LEAST_FORCE, LEAST_STRESS, OF_THE_TERMS

#: Angstrom, of the displacement that tells how stiff a structure is.
_NUDGE = 0.01


@dataclass(frozen=True)
class Magnitude:
    """What errors of a structure are measured in.

    Attributes:
        energy: of an atom without its atomic energy (eV).
        force: the rms force, or a part of what the edges of the most loaded atom contribute (eV/Angstrom).
        stress: of the sum over edges of |r||dE/dr| over the volume (eV/Angstrom^3).
        virial: that sum (eV).
    """

    energy: float
    force: float
    stress: float
    virial: float


def magnitude(subject: Subject, atoms: Atoms) -> Magnitude:
    """The magnitude of a structure's terms."""
    if not len(atoms):
        return Magnitude(LEAST_ENERGY, LEAST_FORCE, LEAST_STRESS, 0.0)
    if isinstance(subject, PotentialSubject):
        energy, rms, gross, virial = _of_potential(subject, atoms)
    else:
        energy, rms, gross, virial = _of_calculator(subject, atoms)
    volume = atoms.get_volume() if atoms.cell.rank == 3 else np.inf
    return Magnitude(
        max(LEAST_ENERGY, energy),
        max(LEAST_FORCE, rms, OF_THE_TERMS * gross),
        max(LEAST_STRESS, virial / volume),
        virial,
    )


def _of_potential(subject: PotentialSubject, atoms: Atoms) -> tuple[float, float, float, float]:
    """Energy of an atom, rms force, largest sum over the edges of an atom, and virial, each without signs."""
    potential, graph = subject.potential, subject.graph(atoms)
    species = potential.species(graph.atomic_numbers)
    vectors = graph.edge_vectors().detach().requires_grad_()
    with torch.enable_grad():
        energies = potential.node_energies(species, *graph.edge_index, vectors)
        (gradient,) = torch.autograd.grad(energies.sum(), vectors, allow_unused=True)
    energy = float((energies.detach() - potential.atomic_energies[species]).abs().max())
    if gradient is None or not len(vectors):
        return energy, 0.0, 0.0, 0.0
    terms, forces = torch.zeros(len(atoms)).to(gradient), torch.zeros(len(atoms), 3).to(gradient)
    sizes = gradient.norm(dim=1)
    for end, sign in zip(graph.edge_index, (1.0, -1.0)):
        terms.index_add_(0, end, sizes)
        forces.index_add_(0, end, sign * gradient)
    virial = float((sizes * vectors.detach().norm(dim=1)).sum())
    return energy, float(forces.square().mean().sqrt()), float(terms.max()), virial


def _of_calculator(subject: Subject, atoms: Atoms) -> tuple[float, float, float, float]:
    """The same, guessed from how stiff the structure is: nothing of the edges of another calculator is known."""
    here = subject.evaluate(atoms)
    nudged = atoms.copy()
    nudged.positions += np.random.default_rng(0).normal(scale=_NUDGE, size=atoms.positions.shape)
    stiffness = float(np.abs(subject.evaluate(nudged).forces - here.forces).max()) / _NUDGE
    gross = max(stiffness * 1.0, float(np.abs(here.forces).max()))  # over one Angstrom
    try:
        alone = {symbol: subject.energy(Atoms([symbol])) for symbol in set(atoms.symbols)}
    except Exception:  # a calculator that refuses lone atoms; X3 says so
        alone = {}
    energy = abs(here.energy - sum(alone.get(symbol, 0.0) for symbol in atoms.symbols)) / len(atoms)
    return energy, float(np.sqrt(np.mean(here.forces**2))), gross, len(atoms) * gross
