"""Group G: forces, stress, Hessian and loss gradients are the derivatives they claim to be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ase import Atoms

from equipot.checks.model.compare import (
    VOIGT,
    central_difference,
    derivative_error,
    difference,
    displaced,
    force_scale,
    strained,
)
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.tolerances import (
    CLOSED_LOOP,
    FORCE_DIFFERENCE,
    HESSIAN_DIFFERENCE,
    HESSIAN_SYMMETRY,
    LOSS_GRADIENT,
    PARTS,
    STRESS_DIFFERENCE,
    TWIN,
)
from equipot.checks.verdicts import Skip
from equipot.graph import collate

_GRADIENT_PARAMETERS, _HESSIAN_ATOMS = 20, 12
#: Angstrom; the second where the first is not good enough (see :func:`derivative_error`). The third derivative of a
#: spline jumps at its knots, so the difference's error goes like the step cubed.
_STEPS = (2.5e-4, 2.5e-5)
_STRAINS = (1e-4, 1e-5)


@check("G1", "forces are −dE/dr")
def forces(context: Context) -> Iterator[Measure]:
    """Fourth-order central differences of the energy, in float64."""
    rng, subject = context.rng(), context.exact
    for name, atoms in context.structures.items():
        found = subject.evaluate(atoms).forces
        scale = max(1.0, force_scale(found))
        for atom in rng.permutation(len(atoms))[: 2 if context.is_short else 8]:
            axis = int(rng.integers(3))
            limit = FORCE_DIFFERENCE * scale
            error = derivative_error(
                lambda h, i=atom, k=axis, a=atoms: subject.energy(displaced(a, i, k, h)),
                -float(found[atom, axis]),
                _STEPS,
                limit,
            )
            yield Measure("force error", error, limit, "eV/Å", f"{name}, atom {atom}")


@check("G2", "stress is (1/V) dE/dε")
def stress(context: Context) -> Iterator[Measure]:
    """Six strains, central differences of the energy, in float64; a slab's stress is per volume of its cell."""
    subject = context.exact
    for name, atoms in context.structures.items():
        found = subject.evaluate(atoms).stress
        if found is None:
            continue
        volume = atoms.get_volume()
        for row, column in VOIGT[::2] if context.is_short else VOIGT:
            if not (atoms.pbc[row] and atoms.pbc[column]) and not atoms.pbc.all():
                continue
            limit = STRESS_DIFFERENCE * max(1.0, float(np.abs(found).max()))
            error = derivative_error(
                lambda h, r=row, c=column, a=atoms: subject.energy(strained(a, r, c, h)),
                volume * float(found[row, column]),
                _STRAINS,
                volume * limit,
            )
            yield Measure("stress error", error / volume, limit, "eV/Å³", f"{name}, {'xyz'[row]}{'xyz'[column]}")


@check("G3", "first and second derivatives on a small cell (gradcheck)", short=False)
def gradcheck(context: Context) -> Iterator[Measure]:
    """torch's own proof of the energy's derivatives with respect to positions and cell."""
    _ = context.potential
    potential, atoms = context.exact.potential, context.structures["small cell"]
    graph = context.exact.graph(atoms)
    species = potential.species(graph.atomic_numbers)

    def total(positions: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        copy = graph.clone()
        copy.positions, copy.cell = positions, cell
        return potential.node_energies(species, *graph.edge_index, copy.edge_vectors()).sum()

    arguments = (graph.positions.clone().requires_grad_(), graph.cell.clone().requires_grad_())
    for name, proof in (("first", torch.autograd.gradcheck), ("second", torch.autograd.gradgradcheck)):
        good = proof(total, arguments, fast_mode=True, raise_exception=False)
        yield Measure(f"{name} derivative wrong", 0.0 if good else 1.0, 0.0)


@check("G4", "loss gradient through forces and stress", short=False)
def loss_gradient(context: Context) -> Iterator[Measure]:
    """What training follows, against differences of the loss, for random weights."""
    _ = context.potential
    potential, rng = context.exact.potential, context.rng()
    graph = context.exact.graph(context.structures["alloy"])
    parameters = {name: parameter for name, parameter in potential.named_parameters() if parameter.requires_grad}
    if not parameters:
        raise Skip("no parameter of the potential is trainable")

    def loss(create_graph: bool) -> torch.Tensor:
        output = potential(graph, create_graph=create_graph)
        return output.forces.square().mean() + output.energy.square().sum() * 1e-6 + output.stress.square().sum() * 100

    gradients = dict(zip(parameters, torch.autograd.grad(loss(True), list(parameters.values()), allow_unused=True)))
    chosen = rng.permutation(list(parameters))[:_GRADIENT_PARAMETERS]
    for name in chosen:
        parameter, gradient = parameters[name], gradients[name]
        if gradient is None:
            continue
        position = tuple(int(rng.integers(size)) for size in parameter.shape)

        def shifted(amount: float, parameter=parameter, position=position) -> float:
            with torch.no_grad():
                kept = parameter[position].clone()
                parameter[position] += amount
                value = float(loss(False))
                parameter[position] = kept
            return value

        analytic = float(gradient[position])
        numeric = central_difference(shifted, 1e-4)
        size = max(abs(analytic), float(gradient.abs().max()), 1e-3)
        yield Measure("gradient error", abs(numeric - analytic) / size, LOSS_GRADIENT, "relative", str(name))


@check("G5", "Hessian", short=False)
def hessian(context: Context) -> Iterator[Measure]:
    """Symmetric, the derivative of the forces, and blind to moving everything together."""
    _ = context.potential
    subject = context.exact
    for name, atoms in context.structures.items():
        if len(atoms) > _HESSIAN_ATOMS:
            continue
        found = subject.potential.hessian(subject.graph(atoms)).cpu().numpy()
        number = 3 * len(atoms)
        flat = found.reshape(number, number)
        size = max(float(np.abs(flat).max()), 1.0)
        yield Measure("asymmetry", float(np.abs(flat - flat.T).max()) / size, HESSIAN_SYMMETRY, "relative", name)
        yield Measure("acoustic sum", float(np.abs(found.sum(0)).max()) / size, HESSIAN_SYMMETRY, "relative", name)
        plus, minus = (subject.evaluate(displaced(atoms, 0, 1, h)).forces for h in (1e-4, -1e-4))
        error = np.abs((minus - plus) / 2e-4 - found[0, 1]).max()
        yield Measure("against forces", float(error) / size, HESSIAN_DIFFERENCE, "relative", name)


@check("G6", "work round a closed loop")
def closed_loop(context: Context) -> Iterator[Measure]:
    """Forces that are a gradient do no work on a round trip; the trapezoidal rule is exact on a smooth circle."""
    rng, subject = context.rng(), context.exact
    names = [name for name in context.structures if name in ("molecule", "alloy")]
    names += [name for name in context.structures if name not in ("molecule", "alloy", "slab", "skewed cell")][:2]
    for name in names[:2] if context.is_short else names:
        atoms = context.structures[name]
        first, second = rng.normal(scale=0.02, size=(2, len(atoms), 3))
        limit = CLOSED_LOOP * max(1.0, force_scale(subject.evaluate(atoms).forces))
        # Kinks of higher derivatives leave the rule an error that shrinks with the step; work that is done stays.
        for points in (50, 400) if context.is_short else (100, 400, 1600):
            work = abs(_work(context, atoms, first, second, points))
            if work <= limit:
                break
        yield Measure("work", work, limit, "eV", name)


def _work(context: Context, atoms: Atoms, first: np.ndarray, second: np.ndarray, points: int) -> float:
    """Work (eV) round an ellipse that ``first`` and ``second`` span in the space of all positions."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    loop = []
    for angle in angles:
        copy = atoms.copy()
        copy.positions += np.cos(angle) * first + np.sin(angle) * second
        loop.append(copy)
    work = sum(
        float((result.forces * (-np.sin(angle) * first + np.cos(angle) * second)).sum())
        for angle, result in zip(angles, context.exact.evaluate_many(loop))
    )
    return work * 2 * np.pi / points


@check("G7", "no gradient crosses structures of a batch")
def crossing(context: Context) -> Iterator[Measure]:
    """One structure's results do not change, to the bit, when its neighbour in the batch moves."""
    potential, rng = context.potential, context.rng()
    still, moving = context.structures["alloy"], context.structures["molecule"].copy()
    graph = context.subject.graph
    before = potential(collate([graph(still), graph(moving)]))
    moving.positions += rng.normal(scale=0.003, size=moving.positions.shape)
    after = potential(collate([graph(still), graph(moving)]))
    number = len(still)
    yield Measure("forces", float((after.forces[:number] - before.forces[:number]).abs().max()), 0.0, "eV/Å")
    yield Measure("energy", abs(float(after.energy[0] - before.energy[0])), 0.0, "eV")


@check("G8", "per-atom energies and virials sum to the whole")
def parts(context: Context) -> Iterator[Measure]:
    """And every per-atom virial is symmetric."""
    _ = context.potential
    for name, atoms in context.structures.items():
        output = context.subject.output(atoms, virial=True, node_virial=True)
        scale = max(1.0, float(output.virial.abs().max()), 1e-3 * float(output.energy.abs().max()))
        limit = PARTS[context.dtype] * scale
        yield Measure("energies", abs(float(output.node_energy.sum() - output.energy)), limit, "eV", name)
        per_atom = output.node_virial
        yield Measure("virials", float((per_atom.sum(0) - output.virial[0]).abs().max()), limit, "eV", name)
        yield Measure("asymmetry", float((per_atom - per_atom.transpose(1, 2)).abs().max()), limit, "eV", name)
        if not atoms.pbc.any():
            offsets = torch.as_tensor(atoms.positions - atoms.positions.mean(0), dtype=torch.float64)
            expected = offsets.T @ output.forces.cpu()
            # Rounding of float32 forces, times the size of the molecule.
            allowed = limit if context.dtype == "float64" else 1e-5 * scale * len(atoms)
            yield Measure(
                "virial against Σ r⊗F", float((output.virial[0].cpu() - expected).abs().max()), allowed, "eV", name
            )


@check("G9", "float32 against its float64 twin")
def twin(context: Context) -> Iterator[Measure]:
    """The same weights in double precision."""
    if context.dtype == "float64":
        raise Skip("the model runs in float64")
    _ = context.potential
    for name, atoms in context.structures.items():
        found = difference(context.exact.evaluate(atoms), context.baseline[name])
        yield from found.measures(TWIN, name)
