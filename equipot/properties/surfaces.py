"""Surface energies of low-index planes: relaxed slabs against the crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.build import surface
from ase.formula import Formula

from equipot.properties.case import Case, Relaxed, relax_positions
from equipot.properties.result import Findings
from equipot.properties.terminations import SAME_PLANE, Cut, find_cuts

#: 1 eV/Angstrom^2 in J/m^2.
J_PER_M2 = 16.02176634

#: Planes measured where none are asked for, by (crystal system, centring of the lattice).
_PLANES = {
    ("cubic", "I"): ((1, 1, 0), (1, 0, 0), (1, 1, 1), (1, 1, 2)),
    ("cubic", "F"): ((1, 1, 1), (1, 0, 0), (1, 1, 0)),
    ("cubic", "P"): ((1, 0, 0), (1, 1, 0), (1, 1, 1)),
    ("hexagonal", "P"): ((0, 0, 1), (1, 0, 0), (1, 1, 0)),
}
_OTHER_PLANES = ((0, 0, 1), (0, 1, 0), (1, 0, 0))


def plane_name(plane: Sequence[int]) -> str:
    """``110``; with a minus sign before negative indices."""
    return "".join(map(str, plane))


@dataclass(frozen=True)
class _Slab:
    """A slab of one termination with its energies per area (eV/A^2): as cut, and at rest once it was relaxed."""

    atoms: Atoms
    cut: Cut
    unrelaxed: float
    relaxed: Relaxed | None = None
    energy: float = np.inf
    layer_changes_percent: tuple[float, ...] = ()


def measure_surfaces(case: Case) -> Findings:
    """Measure (E(slab) - E(crystal)) / (2 area) of slabs with the crystal's composition, relaxed and unrelaxed.

    Every distinct termination of a plane is cut; the best of them are relaxed and the lowest is kept and named.
    """
    settings, findings = case.settings.surfaces, Findings()
    planes = settings.planes or _PLANES.get((case.symmetry.system, case.symmetry.symbol[0]), _OTHER_PLANES)
    slabs = []
    for plane in planes:
        name = plane_name(plane)
        cut = _cut_slabs(case, plane)
        relaxed = [_relax(case, slab) for slab in cut[: settings.terminations]]
        best = min(relaxed, key=lambda slab: slab.energy)
        findings.add(f"surface_energy_{name}", best.energy * J_PER_M2, "J/m^2")
        findings.add(f"surface_energy_{name}_unrelaxed", best.unrelaxed * J_PER_M2, "J/m^2")
        if not best.relaxed.is_converged:
            findings.doubt(best.relaxed.complaint(f"The ({name}) slab of {len(best.atoms)} atoms", settings.fmax))
        if best.energy < 0.0:
            findings.doubt(f"The ({name}) surface has a negative energy: the crystal would fall apart along it.")
        _describe(findings, name, best, relaxed, cut[settings.terminations :])
        slabs.append(
            {
                "plane": list(plane),
                "energy": best.energy * J_PER_M2,
                "unrelaxed": best.unrelaxed * J_PER_M2,
                "num_atoms": len(best.atoms),
                "area": _area(best.atoms),
                "steps": best.relaxed.steps,
                "layer_changes_percent": list(best.layer_changes_percent),
                "termination": best.cut.name,
                "num_terminations": len(cut),
                "terminations": {
                    slab.cut.name: {"energy": slab.energy * J_PER_M2, "unrelaxed": slab.unrelaxed * J_PER_M2}
                    for slab in relaxed
                },
            }
        )
        case.say(f"surface ({name}), {len(best.atoms)} atoms, cut {best.cut.name}: {best.energy * J_PER_M2:.3f} J/m^2")
    findings.curves = {
        "slabs": slabs,
        "remarks": {
            f"surface_energy_{plane_name(slab['plane'])}": f"cut {slab['termination']}"
            for slab in slabs
            if slab["num_terminations"] > 1
        },
    }
    return findings


def plane_cuts(crystal: Atoms, plane: Sequence[int]) -> list[Cut]:
    """Return the distinct places to cut a crystal along a plane of its conventional cell."""
    return find_cuts(surface(crystal, tuple(plane), 1, vacuum=None, periodic=True))


def cut_slab(crystal: Atoms, plane: Sequence[int], cut: Cut, thickness: float, vacuum: float) -> Atoms:
    """Cut a slab of whole periods, at least ``thickness`` (Angstrom) thick, with ``vacuum`` between images.

    It has the crystal's composition; its third vector is normal to the plane.
    """
    # ase.build.surface squares the cell: the planes' heights are periodic with the third vector, the atoms are not.
    period = float(surface(crystal, tuple(plane), 1, vacuum=None, periodic=True).cell.array[2, 2])
    number = max(1, int(np.ceil(thickness / period)))
    slab = surface(crystal, tuple(plane), number + 1, vacuum=None, periodic=True)
    heights = slab.positions[:, 2]
    slab = slab[(heights > cut.height) & (heights < cut.height + number * period)]
    slab.center(vacuum=0.5 * vacuum, axis=2)
    slab.pbc = True
    return slab


def _cut_slabs(case: Case, plane: Sequence[int]) -> list[_Slab]:
    """Return a slab of every termination, the lowest unrelaxed energy first."""
    settings, slabs = case.settings.surfaces, []
    for cut in plane_cuts(case.crystal, plane):
        atoms = case.attach(cut_slab(case.crystal, plane, cut, settings.thickness, settings.vacuum))
        slabs.append(_Slab(atoms, cut, _surface_energy(case, atoms, float(atoms.get_potential_energy()))))
    return sorted(slabs, key=lambda slab: slab.unrelaxed)


def _relax(case: Case, slab: _Slab) -> _Slab:
    settings, start = case.settings.surfaces, slab.atoms.positions[:, 2].copy()
    relaxed = relax_positions(slab.atoms, settings.fmax, settings.steps)
    return replace(
        slab,
        relaxed=relaxed,
        energy=_surface_energy(case, slab.atoms, relaxed.energy),
        layer_changes_percent=layer_changes(start, slab.atoms.positions[:, 2]),
    )


def _area(slab: Atoms) -> float:
    return float(np.linalg.norm(np.cross(*slab.cell.array[:2])))


def _surface_energy(case: Case, slab: Atoms, energy: float) -> float:
    return (energy - case.energy_per_cell * len(slab) / len(case.crystal)) / (2.0 * _area(slab))


def _describe(findings: Findings, name: str, best: _Slab, relaxed: list[_Slab], rest: list[_Slab]) -> None:
    """Say which termination was kept, what the others cost, and what its two faces are."""
    others = [f"{slab.cut.name}: {slab.energy * J_PER_M2:.3f} J/m^2" for slab in relaxed if slab is not best]
    others += [f"{slab.cut.name}: {slab.unrelaxed * J_PER_M2:.3f} J/m^2 unrelaxed" for slab in rest]
    if others:
        findings.note(f"({name}) is cut {best.cut.name}, the lowest of {1 + len(others)}; {'; '.join(others)}.")
    if best.cut.has_equal_faces or len(set(best.atoms.symbols)) == 1:
        return
    whole = best.atoms.symbols.formula.reduce()[0].count()
    is_layered = all(_count(plane) != whole for plane, _ in best.cut.sequence)
    findings.note(
        f"({name}) has two different faces, ending in {best.cut.below} and in {best.cut.above}, in a slab of the "
        "crystal's composition; the energy is the mean of both."
        + (
            " No atomic plane has that composition: in an ionic crystal such a surface is polar and reconstructs."
            if is_layered
            else ""
        )
    )


def _count(formula: str) -> dict[str, int]:
    return Formula(formula).count()


def layer_changes(before: np.ndarray, after: np.ndarray) -> tuple[float, ...]:
    """Return the changes of the outermost three layer distances in percent of the same distances in the crystal.

    Args:
        before: heights of the atoms (Angstrom) as cut from the crystal.
        after: heights of the same atoms at rest.

    Returns:
        From the upper face inwards; empty where there are fewer than six layers.
    """
    order = np.argsort(before)[::-1]
    cuts = np.flatnonzero(-np.diff(before[order]) > SAME_PLANE) + 1
    layers = np.split(order, cuts)
    if len(layers) < 6:
        return ()
    was = -np.diff([before[layer].mean() for layer in layers])
    now = -np.diff([after[layer].mean() for layer in layers])
    return tuple(float(100.0 * (new / old - 1.0)) for new, old in zip(now[:3], was[:3]))
