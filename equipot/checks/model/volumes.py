"""Crystals far from equilibrium: the wings of energy against volume, and cells under strong compression."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from scipy.interpolate import CubicSpline

from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.tolerances import CLOSEST, WRONG_WAY
from equipot.checks.verdicts import Skip
from equipot.graph import neighbor_list
from equipot.units import GPA_PER_EV_A3

#: Linear scales of the crystal at its minimum.
_SCALES = np.concatenate([np.linspace(0.70, 0.98, 15), np.linspace(1.0, 1.5, 26)])
_RANGE = 4.5


def closest_pair(atoms: Atoms) -> float:
    """Smallest distance between two atoms or an atom and its image (Angstrom); infinity where all are far."""
    found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, _RANGE)
    return float(found.distance.min()) if len(found) else np.inf


def scaled(atoms: Atoms, factor: float) -> Atoms:
    """A copy with every length times ``factor``."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array * factor, scale_atoms=True)
    return copy


def _need_crystals(context: Context) -> dict[str, Atoms]:
    if not context.crystals:
        raise Skip("no crystal with an energy minimum near the known lattice constant; give DATA with one")
    return context.crystals


def _volume_curves(context: Context) -> dict[str, dict]:
    if "volumes" not in context.curves:
        curves = {}
        for name, atoms in _need_crystals(context).items():
            results = context.exact.evaluate_many([scaled(atoms, factor) for factor in _SCALES])
            curves[name] = {
                "scales": _SCALES,
                "volumes": atoms.get_volume() / len(atoms) * _SCALES**3,
                "energies": np.array([result.energy for result in results]) / len(atoms),
                "pressures_gpa": np.array(
                    [
                        np.nan if result.stress is None else -np.trace(result.stress) / 3 * GPA_PER_EV_A3
                        for result in results
                    ]
                ),
            }
        context.curves["volumes"] = curves
    return context.curves["volumes"]


@check("V8", "energy against volume rises on both sides", severity="warn")
def wings(context: Context) -> Iterator[Measure]:
    """From 0.7 to 1.5 times the lattice constant: steadily up towards small volumes, and never down again towards
    large ones before the atoms have parted."""
    for name, curve in _volume_curves(context).items():
        energies = curve["energies"]
        centre = int(np.argmin(np.abs(curve["scales"] - 1.0)))
        inner, outer = np.diff(energies[: centre + 1]), np.diff(energies[centre:])
        for kind, steps, scales in (
            ("compression", inner, curve["scales"][:centre]),
            ("expansion", -outer, curve["scales"][centre + 1 :]),
        ):
            wrong = steps > 0.0
            place = f" at {scales[wrong].min():.2f} to {scales[wrong].max():.2f} a" if wrong.any() else ""
            yield Measure(f"runs down on {kind} by", float(steps[wrong].sum()), 10 * WRONG_WAY, "eV/atom", name + place)
        deeper = float(energies[centre] - np.nanmin(energies))
        yield Measure("a deeper minimum elsewhere, by", deeper, WRONG_WAY, "eV/atom", name)


@check("V9", "pressure from the stress is −dE/dV of the curve", severity="warn", short=False)
def pressures(context: Context) -> Iterator[Measure]:
    """Over the whole curve, not only at one structure."""
    for name, curve in _volume_curves(context).items():
        near = (curve["scales"] > 0.9) & (curve["scales"] < 1.1)
        if not np.isfinite(curve["pressures_gpa"]).all():
            raise Skip("the calculator has no stress")
        slope = -CubicSpline(curve["volumes"], curve["energies"])(curve["volumes"], 1) * GPA_PER_EV_A3
        size = float(np.abs(curve["pressures_gpa"][near]).max())
        worst = float(np.abs(slope - curve["pressures_gpa"])[near][1:-1].max())
        yield Measure("pressure differs", worst / max(size, 1.0), 0.05, "of the largest", name)


@check("V10", "compressed and shaken cells stay together", severity="warn", short=False)
def compressed(context: Context) -> Iterator[Measure]:
    """Down to 60 % of the volume: forces stay finite, the pressure rises, atoms let go do not fall into each other."""
    rng = context.rng()
    for name, crystal in _need_crystals(context).items():
        if len(crystal) > 100:
            continue
        last = -np.inf
        for fraction in (1.0, 0.9, 0.8, 0.7, 0.6):
            atoms = scaled(crystal, fraction ** (1 / 3))
            apart = closest_pair(atoms)
            atoms.positions += rng.normal(scale=0.03 * apart, size=atoms.positions.shape)
            where = f"{name}, V/V0 = {fraction:g}"
            result = context.subject.evaluate(atoms)
            yield Measure("not finite", float((~np.isfinite(result.forces)).sum()), 0.0, "forces", where)
            if result.stress is not None:
                pressure = -float(np.trace(result.stress)) / 3 * GPA_PER_EV_A3
                yield Measure("pressure falls by", max(0.0, last - pressure), 0.0, "GPa", where)
                last = pressure
            atoms.calc = context.subject.calculator()
            FIRE(atoms, logfile=None).run(fmax=0.05, steps=60)
            yield Measure(
                "closest pair lost", 1.0 - closest_pair(atoms) / apart, 1.0 - CLOSEST, "of the distance", where
            )
