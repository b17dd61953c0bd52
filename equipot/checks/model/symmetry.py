"""Group P: energies, forces and stresses have the symmetries of physics."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from equipot.checks.model.compare import difference, energy_change, rotated
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.tolerances import BATCHING, FAR, INVARIANCE, NET_FORCE, STRESS_ASYMMETRY
from equipot.checks.verdicts import Skip
from equipot.kernels import selection
from equipot.models import Potential
from equipot.models.steps import SpeciesTable
from equipot.models.wired import WiredArchitecture
from equipot.nn import SpeciesLinear, SymmetricProduct

_LARGEST_SUPERCELL = 400


@check("P1", "rotation")
def rotation(context: Context) -> Iterator[Measure]:
    """E invariant, forces and stress turn with the structure."""
    for name, atoms in context.structures.items():
        for seed in range(1 if context.is_short else 6):
            matrix = Rotation.random(random_state=context.settings.seed + seed).as_matrix()
            found = difference(
                context.baseline[name], context.subject.evaluate(rotated(atoms, matrix)), rotation=matrix
            )
            yield from found.measures(context.tolerance, context.magnitudes[name], name)


@check("P2", "inversion and mirrors")
def inversion(context: Context) -> Iterator[Measure]:
    """An enantiomer has the same energy."""
    if context.subject.is_rotation_only:
        raise Skip("the architecture (parity: none) tells left from right by choice")
    mirror = Rotation.random(random_state=9).as_matrix() @ np.diag([1.0, 1.0, -1.0])
    for name, atoms in context.structures.items():
        for improper in (-np.eye(3), mirror):
            found = difference(
                context.baseline[name], context.subject.evaluate(rotated(atoms, improper)), rotation=improper
            )
            yield from found.measures(context.tolerance, context.magnitudes[name], name)


@check("P3", "translation by 1, 100 and 10 000 Å")
def translation(context: Context) -> Iterator[Measure]:
    """Far from the origin float32 positions would show."""
    for name, atoms in context.structures.items():
        for distance in (1.0, 100.0, 10_000.0):
            moved = atoms.copy()
            moved.positions += distance * np.array([0.6, -0.64, 0.48])
            tolerance = (FAR if distance > 1000 else INVARIANCE)[context.dtype]
            found = difference(context.baseline[name], context.subject.evaluate(moved))
            yield from found.measures(tolerance, context.magnitudes[name], f"{name}, {distance:g} Å")


@check("P4", "permutation of atoms")
def permutation(context: Context) -> Iterator[Measure]:
    """The order of atoms in a file means nothing."""
    rng = context.rng()
    for name, atoms in context.structures.items():
        order = rng.permutation(len(atoms))
        found = difference(context.baseline[name], context.subject.evaluate(atoms[order]), order=order)
        yield from found.measures(context.tolerance, context.magnitudes[name], name)


@check("P5", "order of edges, and the other neighbour search")
def edge_order(context: Context) -> Iterator[Measure]:
    """Sums over neighbours do not depend on their order; both searches find the same edges."""
    potential, rng = context.potential, context.rng()
    tolerance = BATCHING[context.dtype]
    for name, atoms in context.structures.items():
        graph = context.subject.graph(atoms)
        centre = graph.edge_index[0].cpu().numpy()
        order = np.lexsort((rng.random(len(centre)), centre))
        shuffled = graph.clone()
        shuffled.edge_index, shuffled.edge_shift = graph.edge_index[:, order], graph.edge_shift[order]
        before, after = (float(potential(each, forces=False, stress=False).energy) for each in (graph, shuffled))
        limit = tolerance.e * context.magnitudes[name].energy
        yield Measure("energy", energy_change(before, after) / max(len(atoms), 1), limit, "eV/atom", name)
        with selection.use("reference"):
            other = context.subject.graph(atoms)
        same = other.edge_index.shape == graph.edge_index.shape and bool(
            (other.edge_index == graph.edge_index).all() and (other.edge_shift == graph.edge_shift).all()
        )
        yield Measure("edges that differ", 0.0 if same else 1.0, 0.0, "", name)


@check("P6", "atoms moved by lattice vectors")
def lattice_vectors(context: Context) -> Iterator[Measure]:
    """Wrapped or not, up to fifty cells away."""
    rng = context.rng()
    for name, atoms in context.structures.items():
        if not atoms.pbc.any():
            continue
        moved = atoms.copy()
        moved.positions += (rng.integers(-50, 51, size=(len(atoms), 3)) * atoms.pbc) @ atoms.cell.array
        found = difference(context.baseline[name], context.subject.evaluate(moved))
        yield from found.measures(context.tolerance, context.magnitudes[name], name)


@check("P7", "equivalent cells and supercells")
def equivalent_cells(context: Context) -> Iterator[Measure]:
    """Skewed, reduced, left-handed and repeated cells are the same crystal."""
    for name, atoms in context.structures.items():
        if not atoms.pbc.all():
            continue
        before = context.baseline[name]
        for label, other in _other_cells(atoms).items():
            found = difference(before, context.subject.evaluate(other))
            yield from found.measures(context.tolerance, context.magnitudes[name], f"{name}, {label}")
        for copies in ((2, 1, 1),) if context.is_short else ((2, 1, 1), (1, 3, 2), (3, 1, 4)):
            number = int(np.prod(copies))
            if len(atoms) * number <= _LARGEST_SUPERCELL:
                found = difference(before, context.subject.evaluate(atoms * copies), copies=number)
                where = f"{name}, {'x'.join(map(str, copies))}"
                yield from found.measures(context.tolerance, context.magnitudes[name], where)


def _other_cells(atoms: Atoms) -> dict[str, Atoms]:
    matrices = {
        "skewed": [[1, 0, 0], [2, 1, 0], [0, -1, 1]],
        "axes swapped": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        "left-handed": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
    }
    found = {}
    for label, matrix in matrices.items():
        other = atoms.copy()
        other.set_cell(np.array(matrix) @ atoms.cell.array)
        found[label] = other
    return found


@check("P8", "no net force, no torque")
def net_force(context: Context) -> Iterator[Measure]:
    """Momentum, and for molecules angular momentum, is conserved."""
    limit = NET_FORCE[context.dtype]
    for name, atoms in context.structures.items():
        forces = context.baseline[name].forces
        scale = max(context.magnitudes[name].force, 1.0) * max(len(atoms), 1)
        yield Measure("net force", float(np.abs(forces.sum(0)).max()), limit * scale, "eV/Å", name)
        if not atoms.pbc.any():
            arms = atoms.positions - atoms.positions.mean(0)
            longest = max(10.0, float(np.abs(arms).max()))
            torque = np.cross(arms, forces).sum(0)
            yield Measure("torque", float(np.abs(torque).max()), longest * limit * scale, "eV", name)


@check("P9", "symmetric stress")
def symmetric_stress(context: Context) -> Iterator[Measure]:
    """The stress tensor has six numbers, not nine."""
    for name, result in context.baseline.items():
        if result.stress is not None:
            yield Measure(
                "asymmetry",
                float(np.abs(result.stress - result.stress.T).max()),
                STRESS_ASYMMETRY[context.dtype],
                "eV/Å³",
                name,
            )


@check("P10", "elements that are not there do not matter", short=False)
def absent_elements(context: Context) -> Iterator[Measure]:
    """Other weights of the elements a structure lacks leave its results as they were, to the bit."""
    potential = context.potential
    if len(potential.elements) < 2 or not isinstance(potential.architecture, WiredArchitecture):
        raise Skip("there is one element only, or the architecture's weights of elements are not known")
    for name, atoms in context.structures.items():
        absent = [k for k, element in enumerate(potential.elements) if element not in set(atoms.symbols)]
        if absent:
            changed = copy.deepcopy(potential)
            with torch.no_grad():
                for parameter in _by_element(changed):
                    parameter[absent] += 1.0
            before, after = context.baseline[name], type(context.subject)(changed).evaluate(atoms)
            yield Measure("energy", abs(after.energy - before.energy), 0.0, "eV", name)
            yield Measure("forces", float(np.abs(after.forces - before.forces).max()), 0.0, "eV/Å", name)


def _by_element(potential: Potential) -> Iterator[torch.nn.Parameter]:
    """Weights whose first index is the element."""
    for step in potential.architecture.wiring.steps:
        if isinstance(step, SpeciesTable):
            yield from (table for table in step.parameters() if isinstance(table, torch.nn.Parameter))
    for module in potential.architecture.modules():
        if isinstance(module, SpeciesLinear | SymmetricProduct):
            yield from module.parameters()
