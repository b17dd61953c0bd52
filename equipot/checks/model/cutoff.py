"""Group C: nothing jumps at the cutoff, and nothing reaches beyond it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms

from equipot.checks.model.compare import force_scale
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import Subject
from equipot.checks.model.tolerances import (
    BATCHING,
    CROSSING_ENERGY,
    CROSSING_FORCE,
    CUTOFF_CURVATURE,
    CUTOFF_ENERGY,
    CUTOFF_FORCE,
    XPLOR_CURVATURE,
)
from equipot.checks.verdicts import Skip
from equipot.elements import covalent_radius
from equipot.graph import from_ase


def dimer(pair: tuple[str, str], distance: float) -> Atoms:
    """Two atoms along z, nothing else."""
    return Atoms(pair, [[0, 0, 0], [0, 0, distance]])


def pairs_of(elements: tuple[str, ...], most: int) -> list[tuple[str, str]]:
    """Every pair of elements; where there are more than ``most``, like pairs first, then the others evenly."""
    pairs = [(a, b) for k, a in enumerate(elements) for b in elements[k:]]
    if len(pairs) <= most:
        return pairs
    like = [pair for pair in pairs if pair[0] == pair[1]][:most]
    others = [pair for pair in pairs if pair[0] != pair[1]]
    step = max(1, len(others) // max(1, most - len(like)))
    return (like + others[::step])[:most]


def _along(subject: Subject, pair: tuple[str, str], distance: float) -> tuple[float, float]:
    """Energy, and the force along the bond on the second atom."""
    result = subject.evaluate(dimer(pair, distance))
    return result.energy, float(result.forces[1, 2])


def _isolated(subject: Subject, pair: tuple[str, str]) -> float:
    return sum(subject.energy(Atoms([element])) for element in pair)


@check("C1", "a dimer at the cutoff and beyond is two atoms")
def beyond(context: Context) -> Iterator[Measure]:
    """Exactly: the energy is the sum, the force zero."""
    cutoff, subject = context.cutoff, context.subject
    # Where a lone atom goes through the network, two of them are one matrix product of two rows.
    rounding = 0.0 if subject.has_exact_atoms else 2 * BATCHING[context.dtype].e
    for pair in pairs_of(subject.elements, 6 if context.is_short else 30):
        expected = _isolated(subject, pair)
        for distance in (cutoff, cutoff + 1e-9, cutoff + 1.0):
            energy, force = _along(subject, pair, distance)
            where = f"{'-'.join(pair)} at {distance:.10g} Å"
            yield Measure("energy", abs(energy - expected), 4e-16 * abs(expected) + rounding, "eV", where)
            yield Measure("force", abs(force), 0.0, "eV/Å", where)


@check("C2", "forces vanish smoothly at the cutoff")
def smooth(context: Context) -> Iterator[Measure]:
    """Energy, force and stiffness all go to zero."""
    cutoff, step = context.cutoff, 1e-5
    for pair in pairs_of(context.subject.elements, 3 if context.is_short else 30):
        where = "-".join(pair)
        energy, force = _along(context.subject, pair, cutoff - 1e-3)
        rounding = 1e-15 * abs(energy)
        yield Measure(
            "energy 1e-3 Å inside",
            abs(energy - _isolated(context.subject, pair)),
            CUTOFF_ENERGY[context.dtype] + rounding + (0.0 if context.subject.is_smooth else 0.5e-6 * XPLOR_CURVATURE),
            "eV",
            where,
        )
        # Where the stiffness jumps the force goes to zero with the distance, else with its square.
        limit = CUTOFF_FORCE if context.subject.is_smooth else 1e-3 * XPLOR_CURVATURE
        yield Measure("force 1e-3 Å inside", abs(force), limit, "eV/Å", where)
        farther, nearer = (_along(context.exact, pair, cutoff - k * step)[1] for k in (2, 1))
        yield Measure(
            "stiffness 1e-5 Å inside",
            abs(farther - nearer) / step,
            CUTOFF_CURVATURE if context.subject.is_smooth else XPLOR_CURVATURE,
            "eV/Å²",
            where,
        )


@check("C8", "the stiffness, too, goes to zero at the cutoff", severity="warn")
def stiffness(context: Context) -> Iterator[Measure]:
    """Of potentials whose envelope does not promise it (XPLOR, foreign calculators): elastic constants and phonons
    jump when a shell of neighbours crosses the cutoff."""
    if context.subject.is_smooth:
        raise Skip("part of C2: the envelope of this potential promises it")
    cutoff, step = context.cutoff, 1e-5
    for pair in pairs_of(context.subject.elements, 3 if context.is_short else 30):
        farther, nearer = (_along(context.exact, pair, cutoff - k * step)[1] for k in (2, 1))
        yield Measure(
            "stiffness 1e-5 Å inside", abs(farther - nearer) / step, CUTOFF_CURVATURE, "eV/Å²", "-".join(pair)
        )


@check("C3", "a third atom crosses the cutoff")
def third_atom(context: Context) -> Iterator[Measure]:
    """Energy and forces of a bonded pair do not jump."""
    cutoff, elements = context.cutoff, context.subject.elements
    rng = context.rng()
    for _ in range(2 if context.is_short else 8):
        one, two, three = (elements[int(k)] for k in rng.integers(len(elements), size=3))
        bond = min(1.1 * (covalent_radius(one) + covalent_radius(two)), 0.8 * cutoff)

        def triple(distance: float, symbols=(one, two, three), bond=bond) -> Atoms:
            return Atoms(symbols, [[0, 0, 0], [0, 0, bond], [0, distance, 0]])

        inside, outside = (context.exact.evaluate(triple(cutoff + sign * 1e-6)) for sign in (-1, 1))
        where = f"{one}-{two}, {three} leaving"
        scale = max(1.0, force_scale(outside.forces))
        yield Measure(
            "energy", abs(inside.energy - outside.energy), CROSSING_ENERGY + 1e-15 * abs(outside.energy), "eV", where
        )
        limit = CROSSING_FORCE * scale + (0.0 if context.subject.is_smooth else 2e-6 * XPLOR_CURVATURE)
        yield Measure("force", float(np.abs(inside.forces - outside.forces).max()), limit, "eV/Å", where)


@check("C4", "edges beyond the cutoff contribute nothing")
def wider_list(context: Context) -> Iterator[Measure]:
    """A neighbour list with 1.5 Å more gives the same results, as a list with a skin must."""
    potential, tolerance = context.potential, BATCHING[context.dtype]
    for name in ("alloy", "molecule"):
        atoms = context.structures[name]
        graphs = [from_ase(atoms, context.cutoff + more).to(potential.device) for more in (0.0, 1.5)]
        exact, wide = (potential(graph) for graph in graphs)
        yield Measure("energy", abs(float(wide.energy - exact.energy)) / len(atoms), tolerance.e, "eV/atom", name)
        yield Measure(
            "forces",
            float((wide.forces - exact.forces).abs().max()) / force_scale(exact.forces.cpu()),
            tolerance.f,
            "of the rms",
            name,
        )


@check("C5", "nothing reaches beyond layers × cutoff", short=False)
def locality(context: Context) -> Iterator[Measure]:
    """Moving the end of a chain changes no energy further away, to the bit."""
    potential, layers = context.potential, context.subject.num_layers
    if not layers:
        raise Skip("the number of layers of this architecture is not known")
    element = context.subject.elements[-1]
    spacing = min(2.0 * covalent_radius(element), 0.75 * context.cutoff)
    reach = int(np.floor(layers * context.cutoff / spacing)) + 1
    chain = Atoms(element * (reach + 12), [[0, 0, spacing * k] for k in range(reach + 12)])
    before = potential(context.subject.graph(chain), forces=False, stress=False).node_energy
    chain.positions[0, 0] += 0.3
    after = potential(context.subject.graph(chain), forces=False, stress=False).node_energy
    change = (after - before).abs()
    yield Measure(f"energy beyond {layers} × {context.cutoff:g} Å", float(change[reach:].max()), 0.0, "eV", element)
    yield Measure("no change nearby", 0.0 if float(change[1]) > 0.0 else 1.0, 0.0, "", element)
