"""Group X: energies add up, batches change nothing, and structures without atoms or edges are no special case."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from ase import Atoms

from equipot.checks.model.compare import difference
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.structures import repeated
from equipot.checks.model.subject import Evaluation, PotentialSubject
from equipot.checks.model.tolerances import BATCHING, FAR_APART, LARGE_ENERGIES
from equipot.checks.verdicts import Skip
from equipot.graph import collate


@check("X1", "systems 50 Å apart add up")
def far_apart(context: Context) -> Iterator[Measure]:
    """Energies add, forces stay."""
    one = context.structures["molecule"]
    two = one[:5]
    far = two.copy()
    far.positions += 50.0
    together, first, second = context.subject.evaluate_many([one + far, one, two])
    forces = np.concatenate([first.forces, second.forces])
    found = difference(Evaluation(first.energy + second.energy, forces, None), together)
    yield Measure("energy", found.e * len(forces), FAR_APART[context.dtype], "eV")
    yield Measure("forces", found.f, BATCHING[context.dtype].f, "of the rms")


@check("X2", "a mixed batch equals one by one")
def batch(context: Context) -> Iterator[Measure]:
    """Sizes, periodicities and elements mixed, with an empty structure and lone atoms among them."""
    potential = context.potential
    elements = context.subject.elements
    named = {
        **context.structures,
        "lone atom": Atoms(elements[:1]),
        "no atoms": Atoms(),
        "two far atoms": Atoms([elements[0], elements[-1]], [[0, 0, 0], [0, 0, 30.0]]),
    }
    names = [list(named)[k] for k in context.rng().permutation(len(named))]
    graphs = [context.subject.graph(named[name]) for name in names]
    batched, start = potential(collate(graphs)), 0
    for place, (name, graph) in enumerate(zip(names, graphs)):
        alone = potential(graph)
        rows = slice(start, start + graph.num_nodes)
        start += graph.num_nodes
        one, two = (
            _evaluation(output.energy[k], output.forces[part], output.stress[k])
            for output, k, part in ((alone, 0, slice(None)), (batched, place, rows))
        )
        yield from difference(one, two).measures(BATCHING[context.dtype], name)


def _evaluation(energy: torch.Tensor, forces: torch.Tensor, stress: torch.Tensor) -> Evaluation:
    matrix = stress.cpu().numpy()
    return Evaluation(float(energy), forces.cpu().numpy(), matrix if np.isfinite(matrix).all() else None)


@check("X3", "a lone atom has its atomic energy, no force, no stress")
def isolated(context: Context) -> Iterator[Measure]:
    """For every element; to the bit where the potential promises it."""
    subject = context.subject
    promised = isinstance(subject, PotentialSubject) and subject.has_exact_atoms
    for element in subject.elements:
        atoms = Atoms(element, cell=[30, 30, 30], pbc=True)
        result = subject.evaluate(atoms)
        if promised:
            yield Measure("energy", abs(result.energy - subject.atomic_energy(element)), 0.0, "eV", element)
        else:
            without = subject.energy(Atoms(element))
            yield Measure(
                "energy in a box against none", abs(result.energy - without), 1e-12 * abs(without), "eV", element
            )
        yield Measure("force", float(np.abs(result.forces).max()), 0.0, "eV/Å", element)
        if result.stress is not None:
            yield Measure("stress", float(np.abs(result.stress).max()), 0.0, "eV/Å³", element)


@check("X4", "an atom without neighbours, and no edges at all")
def no_edges(context: Context) -> Iterator[Measure]:
    """Finite, no forces, energies that add up."""
    subject = context.subject
    first, last = subject.elements[0], subject.elements[-1]
    expected = subject.energy(Atoms(first)) + subject.energy(Atoms(last))
    result = subject.evaluate(Atoms([first, last], [[0, 0, 0], [0, 0, 60.0]]))
    rounding = 0.0 if subject.has_exact_atoms else 2 * BATCHING[context.dtype].e
    yield Measure("energy", abs(result.energy - expected), 4e-16 * abs(expected) + rounding, "eV", "no edges")
    yield Measure("force", float(np.abs(result.forces).max()), 0.0, "eV/Å", "no edges")
    molecule = context.structures["molecule"]
    with_ghost = molecule + Atoms(first, [[0, 0, 90.0]])
    alone, both = subject.evaluate_many([molecule, with_ghost])
    yield Measure("force on the far atom", float(np.abs(both.forces[-1]).max()), 0.0, "eV/Å", "molecule and one atom")
    found = difference(
        Evaluation(alone.energy + subject.energy(Atoms(first)), np.vstack([alone.forces, np.zeros((1, 3))]), None), both
    )
    yield Measure("forces of the others", found.f, BATCHING[context.dtype].f, "of the rms", "molecule and one atom")


@check("X5", "no atoms: no energy")
def empty(context: Context) -> Iterator[Measure]:
    """Zero energy and forces of shape (0, 3)."""
    _ = context.potential
    result = context.subject.evaluate(Atoms())
    yield Measure("energy", abs(result.energy), 0.0, "eV")
    yield Measure("shape of forces wrong", 0.0 if result.forces.shape == (0, 3) else 1.0, 0.0)


@check("X6", "small differences between large energies", short=False)
def large_energies(context: Context) -> Iterator[Measure]:
    """Atomic energies of −2000 eV in a thousand atoms do not drown what the network says."""
    potential = context.potential
    shifted = copy.deepcopy(potential)
    with torch.no_grad():
        shifted.atomic_energies.fill_(-2000.0)
    cell = repeated(context.structures["alloy"], 1000)
    other = cell.copy()
    other.positions += context.rng().normal(scale=1e-3, size=other.positions.shape)
    differences = []
    for subject in (context.subject, PotentialSubject(shifted)):
        differences.append(subject.energy(other) - subject.energy(cell))
    yield Measure(
        "energy difference",
        abs(differences[1] - differences[0]) / len(cell),
        LARGE_ENERGIES,
        "eV/atom",
        f"{len(cell)} atoms",
    )


@check("X7", "the same question twice has the same answer")
def repeatable(context: Context) -> Iterator[Measure]:
    """To the bit on a CPU: no dropout, no statistics of batches, no state."""
    if isinstance(context.subject, PotentialSubject) and context.subject.potential.device.type != "cpu":
        raise Skip("sums on a GPU are not ordered")
    for name, atoms in context.structures.items():
        again = context.subject.evaluate(atoms)
        before = context.subject.evaluate(atoms)
        yield Measure("energy", abs(again.energy - before.energy), 0.0, "eV", name)
        yield Measure("forces", float(np.abs(again.forces - before.forces).max()), 0.0, "eV/Å", name)
