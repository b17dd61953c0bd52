"""Dimer curves of every pair of elements: a wall at short range, no kinks, and what the curve looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase import Atoms

from equipot.checks.model.cutoff import dimer, pairs_of
from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.subject import Subject
from equipot.checks.model.tolerances import ROUGHNESS
from equipot.checks.verdicts import Skip
from equipot.elements import covalent_radius
from equipot.errors import EquipotError

#: The wall is looked for from here (Angstrom) ...
_INNERMOST = 0.1
#: ... to this fraction of the sum of the covalent radii; a ZBL term has it built in up to the second fraction.
_WALL, _ZBL_WALL = 0.7, 0.35
_STEP = 0.01
#: eV/Angstrom.
_ABSURD_FORCE = 1e3


def dimer_curve(subject: Subject, pair: tuple[str, str]) -> dict[str, Any]:
    """Two atoms from 0.1 Angstrom to beyond the cutoff.

    Returns:
        ``distances`` (Angstrom), ``energies`` (eV, less those of the two atoms alone), ``forces`` (eV/Angstrom, along
        the bond, positive where the atoms repel each other), ``covalent``: the sum of the covalent radii (Angstrom).

    Raises:
        EquipotError: the potential cannot be evaluated.
    """
    radii = sum(map(covalent_radius, pair))
    outermost = subject.cutoff if subject.cutoff is not None else 4.0 * radii
    distances = np.concatenate(
        [np.arange(_INNERMOST, _WALL * radii, 0.02), np.arange(_WALL * radii, outermost + 0.1, _STEP)]
    )
    results = subject.evaluate_many([dimer(pair, distance) for distance in distances])
    isolated = sum(subject.energy(Atoms([element])) for element in pair)
    return {
        "distances": distances,
        "covalent": radii,
        "energies": np.array([r.energy for r in results]) - isolated,
        "forces": np.array([r.forces[1, 2] for r in results]),
    }


def attracts_up_to(curve: Mapping[str, Any], fraction: float = _WALL) -> float:
    """The largest distance (Angstrom) below so many covalent radii at which the atoms of a dimer do not repel each
    other; 0 where there is a wall."""
    attractive = (curve["distances"] < fraction * curve["covalent"]) & ~(curve["forces"] > 0.0)
    return float(curve["distances"][attractive].max()) if attractive.any() else 0.0


def _curves(context: Context) -> dict[str, dict]:
    """The curve of every pair, computed once."""
    if "dimers" in context.curves:
        return context.curves["dimers"]
    found = {}
    for pair in pairs_of(context.exact.elements, 6 if context.is_short else 300):
        try:
            found["-".join(pair)] = dimer_curve(context.exact, pair)
        except EquipotError as error:
            found["-".join(pair)] = {"error": str(error)}
    context.curves["dimers"] = found
    return found


def _sound(context: Context) -> dict[str, dict]:
    return {name: curve for name, curve in _curves(context).items() if "error" not in curve}


def _wall(context: Context, fraction: float) -> Iterator[Measure]:
    for name, curve in _curves(context).items():
        if "error" in curve:
            yield Measure("not computed", 1.0, 0.0, curve["error"], name)
            continue
        finite = np.isfinite(curve["energies"]) & np.isfinite(curve["forces"])
        yield Measure("not finite", float((~finite).sum()), 0.0, "points", name)
        yield Measure("atoms attract up to", attracts_up_to(curve, fraction), 0.0, "Å", name)


@check("C6", "core repulsion is a wall (ZBL)")
def zbl_wall(context: Context) -> Iterator[Measure]:
    """Where the potential has a ZBL term, two atoms repel each other at every short distance."""
    if context.potential.zbl is None:
        raise Skip("the potential has no ZBL term; see V7")
    yield from _wall(context, _ZBL_WALL)


@check("C7", "dimer curves have no kinks")
def kinks(context: Context) -> Iterator[Measure]:
    """The stiffness changes little from one point to the next: a kink or a jump would stand out."""
    for name, curve in _sound(context).items():
        # The wall is so steep that nothing else would be seen beside it.
        # Inside the last point with an absurd force (SevenNet-l3i5: 1e10 eV/Å between He atoms) there is no curve.
        absurd = curve["distances"][~(np.abs(curve["forces"]) < _ABSURD_FORCE)]
        innermost = max(max(_WALL, 0.8) * curve["covalent"], absurd.max(initial=0.0) + 2 * _STEP)
        outside = curve["distances"] >= innermost
        slopes = np.diff(curve["forces"][outside])
        if len(slopes) < 5:
            continue
        largest = max(float(np.abs(slopes).max()), 1e-6)
        jumps = np.abs(np.diff(slopes)) / largest
        doubtful = jumps > 0.5 * ROUGHNESS
        at = curve["distances"][outside][1:-1]
        measured = [float(jumps[~doubtful].max(initial=0.0)), _finest_jump(context, name, at[doubtful], largest)]
        yield Measure(
            "jump of the stiffness",
            max(measured),
            ROUGHNESS if context.subject.is_smooth else np.inf,
            "of the stiffest",
            name,
        )


def _finest_jump(context: Context, pair: str, places: np.ndarray, largest: float) -> float:
    """The largest jump of the stiffness near these distances with a step eight times finer, over ``largest``
    (eV/Angstrom a coarse step)."""
    if not len(places):
        return 0.0
    fine, symbols = _STEP / 8, tuple(pair.split("-"))
    windows = places[:, None] + fine * np.arange(-9, 10)
    results = context.exact.evaluate_many([dimer(symbols, distance) for distance in windows.ravel()])
    forces = np.array([result.forces[1, 2] for result in results]).reshape(windows.shape)
    slopes = np.diff(forces, axis=1) * (_STEP / fine)
    return float(np.abs(np.diff(slopes, axis=1)).max()) / largest


@check("V7", "dimers repel at short range", severity="warn")
def short_range(context: Context) -> Iterator[Measure]:
    """From 0.1 Å to 0.7 of the covalent radii; without it, hot or dense simulations fall into holes."""
    if not _curves(context):
        raise Skip("no pairs")
    yield from _wall(context, _WALL)
    for name, curve in _sound(context).items():
        outside = (curve["distances"] >= 0.9 * curve["covalent"]) & (np.abs(curve["forces"]) > 1e-4)
        signs = np.sign(curve["forces"][outside])
        yield Measure("force changes sign", float((np.diff(signs) != 0).sum()), np.inf, "times", name)
