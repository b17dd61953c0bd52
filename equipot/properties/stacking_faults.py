"""Generalised stacking fault lines: the energy of slipping one half of a crystal over the other along a plane."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.constraints import FixedLine
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from matscipy.gamma_surface import StackingFault
from scipy.interpolate import CubicSpline

from equipot.properties.case import Case
from equipot.properties.result import Findings, NotApplicable
from equipot.properties.settings import FaultLine
from equipot.properties.surfaces import J_PER_M2, plane_name
from equipot.properties.terminations import Cut, find_cuts

_BCC = (FaultLine((1, -1, 0), (1, 1, 1), 0.5), FaultLine((1, 1, -2), (1, 1, 1), 0.5))
_FCC = (FaultLine((1, 1, 1), (1, 1, -2), 1.0 / 6.0),)
#: J/m^2: below minus this a slipped crystal counts as the better one.
_NOTHING = 1e-3


def default_lines(case: Case) -> tuple[FaultLine, ...]:
    """The lines of bcc elements, and of crystals with every atom on an fcc site (elements, L1_2)."""
    number, size = case.symmetry.number, len(case.crystal)
    if number == 229 and size == 2:
        return _BCC
    if size == 4 and (number == 225 or (number == 221 and len(set(case.crystal.symbols)) == 2)):
        return _FCC
    return ()


def measure_stacking_faults(case: Case) -> Findings:
    """Measure each line by tilting the cell: one fault per cell and no surface; atoms relax along the normal only."""
    settings, findings = case.settings.stacking_faults, Findings()
    if case.symmetry.system != "cubic":
        raise NotApplicable(
            "stacking faults are made for cubic crystals, where planes and directions have the same "
            f"indices; this one is {case.symmetry.system}."
        )
    lines = settings.lines or default_lines(case)
    if not lines:
        raise NotApplicable(
            "no usual slip system is known for this crystal; name planes and directions under stacking_faults.lines."
        )
    curves: list[dict] = []
    remarks: dict[str, str] = {}
    for line in lines:
        curve = _measure_line(case, line, findings)
        name = (
            f"{plane_name(line.plane)}"
            if len({item.plane for item in lines}) == len(lines)
            else f"{plane_name(line.plane)}_{plane_name(line.direction)}"
        )
        name = name.replace("-", "")
        spline = CubicSpline(curve["slip"], curve["relaxed"])
        top = float(spline(np.linspace(0.0, 1.0, 1001)).max())
        findings.add(f"unstable_stacking_fault_energy_{name}", top, "J/m^2")
        if not is_translation(case.crystal, np.array(line.direction) * line.length):
            findings.add(f"stacking_fault_energy_{name}", curve["relaxed"][-1], "J/m^2")
        if min(curve["relaxed"]) < -_NOTHING:
            findings.doubt(
                f"({name}): a slipped crystal has a lower energy than the perfect one "
                f"({min(curve['relaxed']):.3f} J/m^2)."
            )
        if curve["num_gaps"] > 1:
            remarks[f"unstable_stacking_fault_energy_{name}"] = f"slips {curve['gap']}"
        case.say(f"stacking fault {curve['name']}: highest {top:.3f} J/m^2")
        curves.append(curve)
    findings.curves = {"lines": curves, "remarks": remarks}
    return findings


def is_translation(crystal: Atoms, shift: np.ndarray) -> bool:
    """Say whether a shift, in lattice vectors of the cell, brings every atom onto one of its element."""
    scaled, numbers = crystal.get_scaled_positions(), crystal.numbers
    differences = (scaled + shift)[:, None] - scaled[None]
    distances = np.abs(differences - np.rint(differences)).max(axis=2)
    return bool((numbers[distances.argmin(axis=1)] == numbers).all() and distances.min(axis=1).max() < 1e-3)


def _fault_maker(crystal: Atoms, line: FaultLine) -> StackingFault:
    return StackingFault(crystal.copy(), np.array(line.plane), np.array(line.direction))


def fault_images(crystal: Atoms, line: FaultLine, cut: Cut, points: int, thickness: float) -> list[Atoms]:
    """Cells whose third vector is tilted by 0 to the whole slip: the fault lies in the gap of ``cut`` at the border."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maker = _fault_maker(crystal, line)
        repeats = max(1, int(np.ceil(thickness / maker.cut_at.cell[2, 2])))
        slip = line.length * np.linalg.norm(line.direction) * crystal.cell.lengths()[0]
        return maker.generate_images(
            points, z_reps=repeats, z_offset=-cut.height, path_ylims=[0.0, slip / maker.cut_at.cell[1, 1]]
        )


def _measure_line(case: Case, line: FaultLine, findings: Findings) -> dict:
    """Measure a line in every distinct gap between the planes and keep the one in which the crystal would slip.

    That is the gap with the lowest fault where the slip ends in one, and the lowest barrier where it ends in the
    crystal again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cuts = find_cuts(_fault_maker(case.crystal, line).cut_at)
    curves = [_measure_gap(case, line, cut, findings) for cut in cuts]
    is_whole = is_translation(case.crystal, np.array(line.direction) * line.length)
    best = min(curves, key=lambda curve: max(curve["relaxed"]) if is_whole else curve["relaxed"][-1])
    if len(curves) > 1:
        told = [f"{c['gap']}: highest {max(c['relaxed']):.3f}, end {c['relaxed'][-1]:.3f} J/m^2" for c in curves]
        findings.note(
            f"{best['name']} slips {best['gap']}, the gap with the lowest {'barrier' if is_whole else 'fault'} of "
            f"{len(curves)}; {'; '.join(told)}."
        )
    return best | {"num_gaps": len(curves)}


def _measure_gap(case: Case, line: FaultLine, cut: Cut, findings: Findings) -> dict:
    settings = case.settings.stacking_faults
    images = fault_images(case.crystal, line, cut, settings.points, settings.thickness)
    area = float(np.linalg.norm(np.cross(*images[0].cell.array[:2])))
    unrelaxed, relaxed, failures = [], [], []
    for image in images:
        case.attach(image)
        unrelaxed.append(float(image.get_potential_energy()))
        image.set_constraint(FixedLine(list(range(len(image))), (0.0, 0.0, 1.0)))
        target = FrechetCellFilter(image, mask=[0, 0, 1, 0, 0, 0])
        dynamics = BFGS(target, logfile=None)
        if not dynamics.run(fmax=settings.fmax, steps=settings.steps):
            failures.append(float(np.linalg.norm(image.get_forces(), axis=1).max()))
        relaxed.append(float(image.get_potential_energy()))
    name = f"({' '.join(map(str, line.plane))})[{' '.join(map(str, line.direction))}]"
    if failures:
        findings.doubt(
            f"{name}: {len(failures)} of {len(images)} images did not come to rest in {settings.steps} "
            f"steps (largest force {max(failures):.2g} eV/A, asked for {settings.fmax:g})."
        )
    scale = J_PER_M2 / area
    return {
        "name": name,
        "gap": cut.name,
        "plane": list(line.plane),
        "direction": list(line.direction),
        "slip_angstrom": float(line.length * np.linalg.norm(line.direction) * case.crystal.cell.lengths()[0]),
        "slip": np.linspace(0.0, 1.0, len(images)).tolist(),
        "num_atoms": len(images[0]),
        "area": area,
        "unrelaxed": [scale * (energy - unrelaxed[0]) for energy in unrelaxed],
        "relaxed": [scale * (energy - relaxed[0]) for energy in relaxed],
    }
