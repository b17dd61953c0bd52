"""Radial distribution functions from molecular dynamics at constant volume and temperature."""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from equipot.properties.case import Case
from equipot.properties.result import Findings
from equipot.properties.simulation import simulate, temperature, timestep_for
from equipot.simulation.md_config import MDConfig


def measure_distribution(case: Case) -> Findings:
    """Average g(r) of all atoms and of every pair of elements over a simulation at the relaxed volume."""
    settings, findings = case.settings.distribution, Findings()
    start = case.supercell(settings.length)
    config = MDConfig(
        ensemble="nvt-langevin",
        steps=settings.equilibration + settings.steps,
        timestep_fs=timestep_for(start, settings.timestep_fs),
        temperature=settings.temperature,
        seed=settings.seed,
        friction_per_ps=5.0,
        trajectory_every=20,
        log_every=100,
        restart_every=500,
    )
    frames = simulate(case, start, config, f"nvt-{settings.temperature:g}K")
    frames = [frame for frame in frames if frame.info["step"] > settings.equilibration]
    heights = 1.0 / np.linalg.norm(np.linalg.inv(start.cell.array), axis=0)
    reach = min(settings.reach, 0.5 * float(heights.min()))
    distances, functions = radial_distribution(frames, reach, settings.bin_width)
    total = functions["all"]
    peak = int(total.argmax())
    findings.add("rdf_first_peak", distances[peak], "A")
    findings.add("rdf_first_peak_height", total[peak])
    temperatures = [temperature(frame) for frame in frames]
    findings.add("mean_temperature", float(np.mean(temperatures)), "K")
    drift = float(np.abs(_mean_displacement(frames)).mean())
    findings.note(
        f"{len(start)} atoms, {len(frames)} frames over {settings.steps * config.timestep_fs / 1000:g} ps "
        f"after {settings.equilibration * config.timestep_fs / 1000:g} ps at {settings.temperature:g} K, "
        f"constant volume of the crystal at rest; atoms move {drift:.2f} A from their mean places."
    )
    findings.curves = {
        "distances": distances.tolist(),
        "temperature": settings.temperature,
        "functions": {name: function.tolist() for name, function in functions.items()},
    }
    return findings


def radial_distribution(
    frames: list[Atoms], reach: float, bin_width: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return bin centres (Angstrom) and g(r), under ``all`` and, in compounds, under ``A-B`` for each pair.

    g is 1 in a gas without correlations: counts over those expected at the mean density of the frame.
    """
    edges = np.arange(0.0, reach + 0.5 * bin_width, bin_width)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    symbols = np.array(frames[0].get_chemical_symbols())
    elements = sorted(set(symbols))
    pairs = list(combinations_with_replacement(elements, 2)) if len(elements) > 1 else []
    sums = {name: np.zeros(len(shells)) for name in ("all", *(f"{a}-{b}" for a, b in pairs))}
    for frame in frames:
        i, j, d = neighbour_list("ijd", frame, float(edges[-1]))
        expected = shells / frame.get_volume()
        sums["all"] += np.histogram(d, edges)[0] / (expected * len(frame) ** 2)
        for a, b in pairs:
            chosen = (symbols[i] == a) & (symbols[j] == b)
            norm = expected * (symbols == a).sum() * (symbols == b).sum()
            sums[f"{a}-{b}"] += np.histogram(d[chosen], edges)[0] / norm
    return 0.5 * (edges[1:] + edges[:-1]), {name: total / len(frames) for name, total in sums.items()}


def _mean_displacement(frames: list[Atoms]) -> np.ndarray:
    positions = np.array([frame.positions for frame in frames])
    return np.linalg.norm(positions - positions.mean(axis=0), axis=2)
