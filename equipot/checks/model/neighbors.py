"""Group N: neighbour lists against brute force, input that must be refused, and input that must not be changed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import numpy as np
from ase import Atoms

from equipot.checks.model.compare import energy_change
from equipot.checks.model.magnitudes import magnitude
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import PotentialSubject
from equipot.checks.model.tolerances import DISTANCE, SKIN, SOON
from equipot.errors import EquipotError
from equipot.interfaces.ase import Calculator

Edges = dict[tuple[int, int, int, int, int], float]

_MOST_ATOMS = 150


def brute_force(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> Edges:
    """Every edge with its distance, from all pairs over all lattice translations that could matter."""
    positions, cell = np.asarray(positions, dtype=float), np.asarray(cell, dtype=float)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), 3)
    edges: Edges = {}
    if len(positions) == 0:
        return edges
    difference = positions[None, :, :] - positions[:, None, :]
    for shift in itertools.product(*image_ranges(positions, cell, pbc, cutoff)):
        translation = shift[0] * cell[0] + shift[1] * cell[1] + shift[2] * cell[2]
        distance = np.sqrt(((difference + translation) ** 2).sum(axis=2))
        for i, j in zip(*np.nonzero(distance < cutoff)):
            if i != j or any(shift):
                edges[(int(i), int(j), *shift)] = float(distance[i, j])
    return edges


def image_ranges(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> list[range]:
    """The lattice translations along each vector beyond which no pair can be within the cutoff."""
    periodic = cell[pbc]
    ranges = [range(1)] * 3
    if len(periodic):
        # Coefficients along the periodic vectors of the part of each position that lies in their span.
        dual = np.linalg.pinv(periodic)
        coefficients = positions @ dual
        reach = cutoff * np.linalg.norm(dual, axis=0)  # cutoff over the height of the cell
        width = np.ptp(coefficients, axis=0)
        for axis, largest in zip(np.flatnonzero(pbc), np.ceil(reach + width).astype(int)):
            ranges[axis] = range(-largest, largest + 1)
    return ranges


@check("N1", "edges against brute force over images")
def edges(context: Context) -> Iterator[Measure]:
    """The same set, the same distances, (i, j, S) with (j, i, −S); N2 and N3 of the list included."""
    _ = context.potential
    for name, atoms in context.structures.items():
        if len(atoms) > _MOST_ATOMS:
            continue
        graph = context.subject.graph(atoms)
        expected = brute_force(atoms.positions, atoms.cell.array, atoms.pbc, context.cutoff)
        index, shift = graph.edge_index.cpu().numpy(), graph.edge_shift.cpu().numpy().astype(int)
        lengths = graph.edge_vectors().norm(dim=1).cpu().numpy()
        found = {(int(i), int(j), *map(int, s)): float(d) for (i, j), s, d in zip(index.T, shift, lengths)}
        wrong = len(found.keys() ^ expected.keys()) + (len(lengths) - len(found))
        wrong += sum((j, i, -a, -b, -c) not in found for i, j, a, b, c in found)
        yield Measure("edges missing, extra or one-sided", float(wrong), 0.0, f"of {len(expected)}", name)
        scale = max(1.0, float(np.abs(atoms.positions).max(initial=0.0)))
        errors = [abs(found[key] - expected[key]) for key in found.keys() & expected.keys()]
        yield Measure("distance", max(errors, default=0.0) / scale, DISTANCE, "Å", name)


@check("N9", "a pair exactly at the cutoff is no edge")
def at_the_cutoff(context: Context) -> Iterator[Measure]:
    """The cutoff is strict, in float64."""
    _ = context.potential
    pair = context.subject.elements[:1] * 2
    for distance, expected in ((context.cutoff, 0), (np.nextafter(context.cutoff, 0.0), 2)):
        graph = context.subject.graph(Atoms(pair, [[0, 0, 0], [0, 0, distance]]))
        yield Measure("edges", float(abs(graph.num_edges - expected)), 0.0, "too many or few", f"{distance:.17g} Å")


@check("N6", "broken input is refused, not computed")
def refused(context: Context) -> Iterator[Measure]:
    """NaN positions, a cell without volume, coincident atoms, an unknown element: an error, never NaN or a number."""
    element = context.subject.elements[0]
    atoms = context.structures["crystal"]
    nan, flat, double = atoms.copy(), atoms.copy(), atoms.copy()
    nan.positions[1, 0] = np.nan
    flat.set_cell(np.array([[5.0, 0, 0], [0, 5.0, 0], [5.0, 5.0, 0]]))
    double.positions[1] = double.positions[0]
    cases = {"NaN position": nan, "cell without volume": flat, "coincident atoms": double}
    if isinstance(context.subject, PotentialSubject):
        unknown = next(symbol for symbol in ("Og", "Lr", "Fr", "He") if symbol not in context.subject.elements)
        cases["unknown element"] = Atoms([element, unknown], [[0, 0, 0], [0, 0, 2.0]])
    for name, case in cases.items():
        yield Measure("computed instead of refused", _is_computed(context, case), 0.0, "", name)


def _is_computed(context: Context, atoms: Atoms) -> float:
    """1 where a number came out; a foreign calculator may also say NaN, which is noticed."""
    try:
        result = context.subject.evaluate(atoms)
    except EquipotError:
        return 0.0
    except Exception:
        if isinstance(context.subject, PotentialSubject):
            raise
        return 0.0
    is_said = np.isnan(result.energy) or np.isnan(result.forces).any()
    return 0.0 if is_said and not isinstance(context.subject, PotentialSubject) else 1.0


@check("N4", "lines, planes, single atoms and atoms far away")
def odd_shapes(context: Context) -> Iterator[Measure]:
    """Structures without a cell, with a cell of no extent, and 10^6 Angstrom from the origin: the right edges."""
    _ = context.potential
    element, step = context.subject.elements[0], 0.4 * context.cutoff
    line = Atoms([element] * 4, [[0, 0, step * k] for k in range(4)])
    plane = Atoms([element] * 4, [[step * i, step * j, 0] for i in range(2) for j in range(2)])
    wire = Atoms([element] * 2, [[0, 0, 0], [0, 0, step]], cell=[0, 0, 2.2 * step], pbc=(False, False, True))
    sheet = Atoms([element], cell=[step, 1.1 * step, 0], pbc=(True, True, False))
    far = line.copy()
    far.positions[2:] += 1e6
    away = line.copy()
    away.positions -= 1e6
    for name, atoms in {
        "line": line,
        "plane": plane,
        "wire": wire,
        "sheet": sheet,
        "one atom": line[:1],
        "two pairs 10^6 Å apart": far,
        "line at −10^6 Å": away,
    }.items():
        yield _wrong_edges(context, atoms, name)
        result = context.subject.evaluate(atoms)
        is_finite = np.isfinite(result.forces).all() and np.isfinite(result.energy)
        yield Measure("not finite", float(not is_finite), 0.0, "", name)


@check("N5", "huge boxes and needles of cells")
def extreme_cells(context: Context) -> Iterator[Measure]:
    """Two atoms in boxes of 10^4 and 10^8 Angstrom, a cell 0.001 Angstrom thin: the right edges or a refusal, soon."""
    _ = context.potential
    pair = [context.subject.elements[0]] * 2
    for edge in (1e4, 1e8, 1e-3):
        atoms = Atoms(
            pair, [[0, 0, 0], [0, 0, 0.4 * context.cutoff]], cell=[edge, max(edge, 30.0), max(edge, 30.0)], pbc=True
        )
        begin, name = time.process_time(), f"{edge:g} Å"
        try:
            context.subject.evaluate(atoms)
            yield _wrong_edges(context, atoms, name)
        except EquipotError:
            yield Measure("refused where it could be computed", float(edge > 1.0), 0.0, "", name)
        yield Measure("takes", time.process_time() - begin, SOON, "s", name)


def _wrong_edges(context: Context, atoms: Atoms, name: str) -> Measure:
    graph = context.subject.graph(atoms)
    expected = brute_force(atoms.positions, atoms.cell.array, atoms.pbc, context.cutoff)
    found = [
        (int(i), int(j), *map(int, s))
        for (i, j), s in zip(graph.edge_index.cpu().numpy().T, graph.edge_shift.cpu().numpy())
    ]
    wrong = len(set(found) ^ expected.keys()) + len(found) - len(set(found))
    return Measure("edges missing or extra", float(wrong), 0.0, f"of {len(expected)}", name)


@check("N10", "the neighbour list's skin changes no number", short=False)
def skin(context: Context) -> Iterator[Measure]:
    """A drifting, breathing structure with a Verlet skin against a fresh list at every step."""
    potential, rng = context.potential, context.rng()
    with_skin, without = (Calculator(potential, device=potential.device, skin=length) for length in (0.7, 0.0))
    atoms = context.structures["crystal"].copy()
    velocity = rng.normal(scale=0.01, size=atoms.positions.shape)
    energy = forces = 0.0
    for step in range(120):
        atoms.positions += velocity
        atoms.set_cell(atoms.cell.array * (1.0 + 2e-4 * np.sin(step / 7.0)), scale_atoms=True)
        results = []
        for calculator in (with_skin, without):
            copied = atoms.copy()
            copied.calc = calculator
            results.append((copied.get_potential_energy(), copied.get_forces()))
        energy = max(energy, energy_change(results[0][0], results[1][0]) / len(atoms))
        forces = max(forces, float(np.abs(results[0][1] - results[1][1]).max()))
    size = magnitude(context.subject, atoms)
    yield Measure("energy", energy, SKIN[context.dtype] * size.energy, "eV/atom")
    yield Measure("forces", forces, 10 * SKIN[context.dtype] * size.force, "eV/Å")


@check("N11", "the structure is left as it was")
def untouched(context: Context) -> Iterator[Measure]:
    """Positions, cell, info, arrays and constraints, to the bit."""
    for name, atoms in context.structures.items():
        given = atoms.copy()
        given.info["note"] = "mine"
        given.calc = context.subject.calculator()
        before = given.positions.copy(), given.cell.array.copy(), dict(given.info), sorted(given.arrays)
        given.get_potential_energy()
        given.get_forces()
        after = given.positions, given.cell.array, given.info, sorted(given.arrays)
        same = (
            np.array_equal(before[0], after[0])
            and np.array_equal(before[1], after[1])
            and before[2] == after[2]
            and before[3] == after[3]
        )
        yield Measure("changed", 0.0 if same else 1.0, 0.0, "", name)
        if context.is_short:
            return
