"""Surface energies of low-index planes: relaxed slabs against the crystal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import surface

from equipot.properties.case import Case, relax_positions
from equipot.properties.result import Findings

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


def measure_surfaces(case: Case) -> Findings:
    """Measure (E(slab) - E(crystal)) / (2 area) of stoichiometric slabs, relaxed and unrelaxed."""
    settings, findings = case.settings.surfaces, Findings()
    planes = settings.planes or _PLANES.get((case.symmetry.system, case.symmetry.symbol[0]), _OTHER_PLANES)
    slabs = []
    for plane in planes:
        slab = make_slab(case.crystal, plane, settings.thickness, settings.vacuum)
        bulk = case.energy_per_cell * len(slab) / len(case.crystal)
        area = float(np.linalg.norm(np.cross(*slab.cell.array[:2])))
        case.attach(slab)
        unrelaxed = (float(slab.get_potential_energy()) - bulk) / (2.0 * area)
        relaxed = relax_positions(slab, settings.fmax, settings.steps)
        energy = (relaxed.energy - bulk) / (2.0 * area)
        name = plane_name(plane)
        findings.add(f"surface_energy_{name}", energy * J_PER_M2, "J/m^2")
        findings.add(f"surface_energy_{name}_unrelaxed", unrelaxed * J_PER_M2, "J/m^2")
        if not relaxed.is_converged:
            findings.doubt(relaxed.complaint(f"The ({name}) slab of {len(slab)} atoms", settings.fmax))
        if energy < 0.0:
            findings.doubt(f"The ({name}) surface has a negative energy: the crystal would fall apart along it.")
        slabs.append(
            {
                "plane": list(plane),
                "energy": energy * J_PER_M2,
                "unrelaxed": unrelaxed * J_PER_M2,
                "num_atoms": len(slab),
                "area": area,
                "steps": relaxed.steps,
                "layer_changes_percent": _layer_changes(slab),
            }
        )
        case.say(f"surface ({name}), {len(slab)} atoms: {energy * J_PER_M2:.3f} J/m^2")
    if len(set(case.crystal.symbols)) > 1:
        findings.note(
            "Slabs have the composition of the crystal; where their two faces differ, the energy is the mean of both."
        )
    findings.curves = {"slabs": slabs}
    return findings


def make_slab(crystal: Atoms, plane: Sequence[int], thickness: float, vacuum: float) -> Atoms:
    """Cut a slab at least ``thickness`` (Angstrom) thick out of a conventional cell, with ``vacuum`` between images."""
    one = surface(crystal, tuple(plane), 1, vacuum=None, periodic=True)
    spacing = one.get_volume() / np.linalg.norm(np.cross(*one.cell.array[:2]))
    slab = surface(crystal, tuple(plane), max(1, int(np.ceil(thickness / spacing))), vacuum=0.5 * vacuum, periodic=True)
    # ase.build.surface puts half the vacuum on either side of the outermost atoms and squares the cell.
    slab.pbc = True
    return slab


def _layer_changes(slab: Atoms) -> list[float]:
    """Change of the outermost three layer distances in percent of the crystal's; empty where layers are not flat."""
    heights = np.sort(slab.positions[:, 2])[::-1]
    cuts = np.flatnonzero(-np.diff(heights) > 0.3)
    layers = [float(part.mean()) for part in np.split(heights, cuts + 1)]
    if len(layers) < 6:
        return []
    gaps = -np.diff(layers)
    middle = float(np.mean(gaps[len(gaps) // 2 - 1 : len(gaps) // 2 + 1]))
    return [100.0 * (float(gap) / middle - 1.0) for gap in gaps[:3]]
