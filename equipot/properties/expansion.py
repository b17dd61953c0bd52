"""Thermal expansion: quasi-harmonic from phonons at several volumes, or from molecular dynamics at zero pressure."""

from __future__ import annotations

import warnings

import numpy as np
from phonopy import run_qha

from equipot.errors import NumericalError
from equipot.properties.case import Case
from equipot.properties.phonons import force_constants
from equipot.properties.result import Findings
from equipot.properties.simulation import simulate, standard_error, timestep_for
from equipot.properties.volumes import relax_at_volume
from equipot.simulation.md_config import MDConfig
from equipot.units import GPA_PER_EV_A3

#: K: where the values are read off.
_ROOM = 300.0
_FEWEST_VOLUMES = 5


def measure_expansion(case: Case) -> Findings:
    """Measure lattice constants and volume against temperature by the method of the settings."""
    if case.settings.expansion.method == "dynamics":
        return _from_dynamics(case)
    return _quasi_harmonic(case)


def _quasi_harmonic(case: Case) -> Findings:
    """Minimise energy + phonon free energy over volume at each temperature (phonopy; Vinet's equation of state)."""
    settings, findings = case.settings.expansion, Findings()
    scales = np.linspace(1.0 - 0.7 * settings.window, 1.0 + 1.3 * settings.window, settings.volumes)
    phonons, energies, sizes, lowest_frequencies = [], [], [], []
    for scale in scales:  # more room where the crystal expands to
        crystal = case.attach(case.crystal.copy())
        crystal.set_cell(crystal.cell.array * scale ** (1 / 3), scale_atoms=True)
        relax_at_volume(case, crystal)
        phonon, _ = force_constants(case, crystal, settings.length, displacement=case.settings.phonons.displacement)
        lowest_frequencies.append(float(np.min(phonon.run_mesh(40.0).frequencies)))
        sizes.append(float(crystal.get_volume() / len(crystal)))
        phonons.append(phonon)
        energies.append(float(crystal.get_potential_energy()) * len(phonon.primitive) / len(crystal))
        case.say(f"expansion: phonons at {crystal.get_volume() / len(crystal):.3f} A^3/atom")
    kept = [
        number
        for number, lowest in enumerate(lowest_frequencies)
        if lowest > -case.settings.phonons.imaginary_tolerance
    ]
    if len(kept) < len(scales):
        listing = ", ".join(
            f"{-lowest:.2f}i THz at {volume:.2f} A^3/atom"
            for number, (volume, lowest) in enumerate(zip(sizes, lowest_frequencies))
            if number not in kept
        )
        if len(kept) < _FEWEST_VOLUMES:
            raise NumericalError(
                f"Imaginary modes ({listing}) leave {len(kept)} volumes of {len(scales)}, and the "
                f"quasi-harmonic fit needs {_FEWEST_VOLUMES}; the crystal, or the potential's picture "
                "of it, is not stable there. A smaller expansion.window may help, or "
                "expansion.method: dynamics."
            )
        findings.doubt(
            f"Volumes with imaginary modes ({listing}) are left out of the fit: the potential softens when "
            "the crystal expands."
        )
        phonons, energies = [phonons[number] for number in kept], [energies[number] for number in kept]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run_qha(
            phonons,
            np.arange(0.0, settings.max_temperature + 21.0, 10.0),
            energies,
            mesh=60.0,
            exclude_gamma_acoustic=True,
        )
    num_atoms = len(phonons[0].primitive)
    temperatures, volumes = np.asarray(result.temperatures), np.asarray(result.equilibrium_volumes) / num_atoms
    expansion = np.asarray(result.thermal_expansion)
    sampled = np.asarray(result.volumes) / num_atoms
    count = int(np.argmin(volumes < sampled.max())) if volumes.max() >= sampled.max() else len(volumes)
    if count < len(volumes):
        sentence = (
            f"Above {temperatures[max(count - 1, 0)]:.0f} K the crystal expands beyond the largest volume of "
            f"the fit, {sampled.max():.2f} A^3/atom, and nothing is given."
        )
        (findings.note if temperatures[max(count - 1, 0)] >= _ROOM else findings.doubt)(sentence)
        temperatures, volumes, expansion = temperatures[:count], volumes[:count], expansion[:count]
    moduli, gruneisen = np.asarray(result.bulk_moduli)[:count], np.asarray(result.gruneisen_parameters)[:count]
    if count and temperatures[-1] >= _ROOM:
        findings.add("volume_expansion_300K", 1e6 * np.interp(_ROOM, temperatures, expansion), "1e-6/K")
        findings.add("linear_expansion_300K", 1e6 * np.interp(_ROOM, temperatures, expansion) / 3.0, "1e-6/K")
        _add_lattice_constants(findings, case, temperatures, volumes)
        findings.add("bulk_modulus_300K", GPA_PER_EV_A3 * np.interp(_ROOM, temperatures, moduli), "GPa")
        findings.add("gruneisen_300K", np.interp(_ROOM, temperatures, gruneisen))
    findings.note(
        f"Quasi-harmonic, {len(phonons)} volumes, supercells of {len(phonons[0].supercell)} atoms. Linear "
        "expansion is a third of that of the volume."
    )
    findings.curves = {
        "method": "quasi-harmonic",
        "temperatures": temperatures.tolist(),
        "volumes": volumes.tolist(),
        "expansion": (1e6 * expansion).tolist(),
        "bulk_modulus_gpa": (GPA_PER_EV_A3 * moduli).tolist(),
        "sampled_volumes": sampled.tolist(),
        "sampled_energies": (np.array(energies) / num_atoms).tolist(),
    }
    return findings


def _add_lattice_constants(findings: Findings, case: Case, temperatures: np.ndarray, volumes: np.ndarray) -> None:
    if case.symmetry.system == "cubic":
        volume = float(np.interp(_ROOM, temperatures, volumes)) * len(case.crystal)
        findings.add("lattice_constant_300K", volume ** (1 / 3), "A")
    findings.add("volume_300K", float(np.interp(_ROOM, temperatures, volumes)), "A^3/atom")


def _from_dynamics(case: Case) -> Findings:
    """Average the volume of simulations at zero pressure; slope of a straight line through them."""
    settings, findings = case.settings.expansion, Findings()
    start = case.supercell(settings.length)
    means, errors = [], []
    for temperature in settings.temperatures:
        config = MDConfig(
            ensemble="npt",
            steps=settings.steps,
            timestep_fs=timestep_for(start, None),
            temperature=temperature,
            seed=settings.seed,
            trajectory_every=10,
            log_every=100,
            restart_every=500,
        )
        frames = simulate(case, start, config, f"npt-{temperature:g}K")
        volumes = np.array([frame.get_volume() for frame in frames])[len(frames) // 3 :] / len(start)
        means.append(float(volumes.mean()))
        errors.append(standard_error(volumes))
        case.say(f"expansion: {temperature:g} K, {means[-1]:.4f} ± {errors[-1]:.4f} A^3/atom")
    temperatures, means_array = np.array(settings.temperatures), np.array(means)
    slope = float(np.polyfit(temperatures, means_array, 1)[0])
    middle = float(means_array.mean())
    error = float(np.mean(errors)) / (np.ptp(temperatures) * middle) * 1e6
    findings.add("volume_expansion", 1e6 * slope / middle, "1e-6/K")
    findings.add("linear_expansion", 1e6 * slope / middle / 3.0, "1e-6/K")
    if temperatures[0] <= _ROOM <= temperatures[-1]:
        _add_lattice_constants(findings, case, temperatures, means_array)
    findings.note(
        f"Molecular dynamics of {len(start)} atoms at zero pressure (classical nuclei), {settings.steps} "
        f"steps a temperature; the volume expansion is uncertain by about {error:.1f}e-6/K. It is the mean "
        f"over {temperatures[0]:g} to {temperatures[-1]:g} K."
    )
    findings.curves = {
        "method": "dynamics",
        "temperatures": temperatures.tolist(),
        "volumes": means,
        "volume_errors": errors,
    }
    return findings
