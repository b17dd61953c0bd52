"""Phonons by finite displacements (phonopy): bands, density of states, thermal functions, imaginary modes."""

from __future__ import annotations

import re
import warnings

import numpy as np
from ase import Atoms
from phonopy import Phonopy
from phonopy.phonon.band_structure import get_band_qpoints_by_seekpath
from phonopy.structure.atoms import PhonopyAtoms

from equipot.properties.case import Case
from equipot.properties.result import Findings
from equipot.properties.structures import supercell_for

#: kJ/mol in an electronvolt.
_KJ_PER_EV = 96.48533212
#: Temperature (K) of the thermal functions among the values.
_ROOM = 300.0
#: THz: acoustic modes at Gamma are zero to this.
_ROUNDING = 1e-3
#: Bands of a crystal whose every frequency at a special point is listed.
_MAX_LISTED_BANDS = 6


def force_constants(
    case: Case, crystal: Atoms, length: float, copies: tuple[int, int, int] | None = None, *, displacement: float = 0.01
) -> tuple[Phonopy, float]:
    """Displace the atoms of a supercell and return phonopy with force constants.

    The acoustic sum rule and the symmetry of second derivatives are imposed afterwards; how far the forces themselves
    were from the sum rule is returned (eV/Angstrom^2): it is rounding where they derive from a translation-invariant
    energy.
    """
    supercell = copies or supercell_for(crystal, length)
    unit_cell = PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(),
        cell=crystal.cell.array,
        scaled_positions=crystal.get_scaled_positions(),
        masses=crystal.get_masses(),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        phonon = Phonopy(unit_cell, supercell_matrix=np.diag(supercell), primitive_matrix="auto")
        phonon.generate_displacements(distance=displacement)
        forces = []
        for displaced in phonon.supercells_with_displacements:
            atoms = case.attach(
                Atoms(displaced.symbols, cell=displaced.cell, pbc=True, scaled_positions=displaced.scaled_positions)
            )
            forces.append(atoms.get_forces())
        phonon.forces = np.array(forces)
        phonon.produce_force_constants()
        violation = float(np.abs(phonon.force_constants.sum(axis=1)).max())
        phonon.symmetrize_force_constants(show_drift=False)
    return phonon, violation


def measure_phonons(case: Case) -> Findings:
    """Measure bands along seekpath's line, the density of states and the harmonic thermal functions."""
    settings, findings = case.settings.phonons, Findings()
    phonon, violation = force_constants(
        case, case.crystal, settings.length, settings.supercell, displacement=settings.displacement
    )
    num_atoms = len(phonon.primitive)
    case.say(f"phonons: {len(phonon.supercells_with_displacements)} displacements in {len(phonon.supercell)} atoms")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bands = _bands(phonon, settings.points)
        mesh = phonon.run_mesh(settings.mesh)
        density = phonon.run_total_dos()
        thermal = phonon.run_thermal_properties(
            t_max=settings.max_temperature, t_step=10.0, cutoff_frequency=1e-3, exclude_gamma_acoustic=True
        )
    _add_values(findings, bands, np.asarray(mesh.frequencies), num_atoms)
    temperatures, free, entropy, heat = (np.asarray(part) for part in thermal.thermal_properties)
    findings.add("zero_point_energy", 1000.0 * free[0] / _KJ_PER_EV / num_atoms, "meV/atom")
    if settings.max_temperature >= _ROOM:
        for name, curve, scale, unit in (
            ("vibrational_free_energy_300K", free, 1000.0 / _KJ_PER_EV, "meV/atom"),
            ("entropy_300K", entropy, 1.0, "J/K/mol"),
            ("heat_capacity_300K", heat, 1.0, "J/K/mol"),
        ):
            findings.add(name, scale * np.interp(_ROOM, temperatures, curve) / num_atoms, unit)
    findings.note(
        f"{len(phonon.supercells_with_displacements)} displacements of {settings.displacement:g} A in a "
        f"supercell of {len(phonon.supercell)} atoms; the acoustic sum rule, violated by "
        f"{violation:.1g} eV/A^2 in the forces, is imposed. Entropy and heat capacity per mole of atoms."
    )
    lowest = min(float(np.asarray(mesh.frequencies).min()), min(float(np.min(part)) for part in bands["frequencies"]))
    if lowest < -settings.imaginary_tolerance:
        findings.doubt(_imaginary(bands, lowest, settings.imaginary_tolerance))
    findings.curves = {
        "bands": bands,
        "density": {
            "frequencies": np.asarray(density.frequency_points).tolist(),
            "states": (np.asarray(density.dos) / num_atoms).tolist(),
        },
        "thermal": {
            "temperatures": temperatures.tolist(),
            "free_energy_mev": (1000 * free / _KJ_PER_EV / num_atoms).tolist(),
            "entropy": (entropy / num_atoms).tolist(),
            "heat_capacity": (heat / num_atoms).tolist(),
        },
        "sum_rule_violation": violation,
    }
    return findings


def _bands(phonon: Phonopy, points: int) -> dict:
    """Bands along seekpath's line: pieces with distances (2 pi/Angstrom), q-points and frequencies (THz)."""
    paths, labels, connections = get_band_qpoints_by_seekpath(phonon.primitive, points, is_const_interval=True)
    bands = phonon.run_band_structure(paths, path_connections=connections, labels=labels)
    ends, names = [], iter([_plain(label) for label in labels])
    begin = next(names)
    for number, connected in enumerate(connections):  # phonopy lists the last point of a piece only where it ends
        end = next(names)
        ends.append([begin, end])
        begin = end if connected else next(names, None) if number + 1 < len(connections) else None
    return {
        "segments": ends,
        "distances": [np.asarray(part).tolist() for part in bands.distances],
        "qpoints": [np.asarray(part).tolist() for part in bands.qpoints],
        "frequencies": [np.asarray(part).tolist() for part in bands.frequencies],
    }


def _plain(label: str) -> str:
    """A label of phonopy's without its TeX: ``G`` for Gamma."""
    text = re.sub(r"\\mathrm|[${}\\]", "", label).replace("Gamma", "G")
    return text.replace("_", "")


def _add_values(findings: Findings, bands: dict, mesh: np.ndarray, num_atoms: int) -> None:
    findings.add("frequency_max", float(mesh.max()), "THz")
    lowest = min(float(np.min(part)) for part in bands["frequencies"])
    findings.add("frequency_min", 0.0 if abs(lowest) < _ROUNDING else lowest, "THz")
    seen: dict[str, np.ndarray] = {}
    for (begin, end), frequencies in zip(bands["segments"], bands["frequencies"]):
        seen.setdefault(begin, np.array(frequencies[0]))
        seen.setdefault(end, np.array(frequencies[-1]))
    named: list[np.ndarray] = []
    for label, frequencies in seen.items():
        if (label == "G" and num_atoms == 1) or any(np.allclose(frequencies, other, atol=1e-6) for other in named):
            continue  # the same point by another name, as U and K
        named.append(frequencies)
        if len(frequencies) <= _MAX_LISTED_BANDS and label != "G":
            for number, frequency in enumerate(np.sort(frequencies)):
                findings.add(f"frequency_{label}_{number + 1}", frequency, "THz")
        else:
            if label != "G":
                findings.add(f"frequency_{label}_min", frequencies.min(), "THz")
            findings.add(f"frequency_{label}_max", frequencies.max(), "THz")


def _imaginary(bands: dict, lowest: float, tolerance: float) -> str:
    """Name where on the line the frequencies are imaginary, worst first."""
    found = []
    for (begin, end), qpoints, frequencies in zip(bands["segments"], bands["qpoints"], bands["frequencies"]):
        minima = np.array(frequencies).min(axis=1)
        worst = int(minima.argmin())
        if minima[worst] < -tolerance:
            q = " ".join(f"{x:.3g}" for x in qpoints[worst])
            at = begin if worst == 0 else end if worst == len(minima) - 1 else f"between {begin} and {end}"
            found.append((float(minima[worst]), f"{-minima[worst]:.2f}i THz at {at} (q = {q})"))
    places = list(dict.fromkeys(text for _, text in sorted(found)))[:4]
    where = "; ".join(places) if places else "off the line of the band plot"
    return (
        f"Imaginary modes, down to {-lowest:.2f}i THz: {where}. The crystal is not stable against these "
        "displacements, or the supercell is too small; the thermal functions leave these modes out."
    )
