"""Melting point from solid and liquid side by side: at constant enthalpy the temperature settles where both coexist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from equipot.errors import NumericalError
from equipot.properties.case import Case
from equipot.properties.result import Findings
from equipot.properties.simulation import run, standard_error, temperature, timestep_for
from equipot.properties.structures import supercell_for
from equipot.simulation.md_config import MDConfig

#: Layers with more order than this are crystal: a liquid has 0.1 to 0.2, a crystal at its melting point 0.5 to 0.8.
_ORDERED = 0.4
#: Part of the cell that must be left of either phase.
_LEAST = 0.15
#: Temperature of the half that is to melt, in units of the guess.
_HOT = 2.5
#: fs: a thermostat this slow exchanges no heat.
_NEVER = 1e9
_LAYERS = 10


@dataclass(frozen=True)
class _Attempt:
    """Temperatures (K) over the run at constant enthalpy, its times (ps), and the order of the layers at the end."""

    times: np.ndarray
    temperatures: np.ndarray
    order: np.ndarray

    @property
    def solid(self) -> float:
        return float((self.order > _ORDERED).mean())

    @property
    def mean(self) -> float:
        return float(self.temperatures[len(self.temperatures) // 2 :].mean())

    @property
    def error(self) -> float:
        return standard_error(self.temperatures[len(self.temperatures) // 2 :])


def measure_melting(case: Case) -> Findings:
    """Measure the melting point; where everything freezes or melts the guess is moved and the run made again.

    The solid is warmed at constant pressure, one half of it is melted while the other is held, both are brought to the
    guess with the long axis free to stretch, and then run at constant enthalpy: freezing warms and melting cools the
    cell towards the melting point (J. R. Morris et al., Phys. Rev. B 49, 3109 (1994)).
    """
    settings, findings = case.settings.melting, Findings()
    guess, tried = settings.guess, []
    for number in range(settings.attempts):
        attempt = _attempt(case, guess, number)
        tried.append(f"{guess:.0f} K: {attempt.solid:.0%} solid, {attempt.mean:.0f} K at the end")
        case.say(f"melting: started at {tried[-1]}")
        if _LEAST <= attempt.solid <= 1.0 - _LEAST:
            break
        guess = max(1.1 * guess, attempt.mean) if attempt.solid > 0.5 else min(0.9 * guess, attempt.mean)
    else:
        raise NumericalError(
            f"Solid and liquid did not stay side by side in {settings.attempts} attempts "
            f"({'; '.join(tried)}); start nearer with melting.guess, or use a larger cell."
        )
    findings.add("melting_temperature", attempt.mean, "K")
    findings.note(
        f"{attempt.mean:.0f} ± {attempt.error:.0f} K at {settings.pressure_gpa:g} GPa over the last "
        f"{(attempt.times[-1] - attempt.times[0]) / 2:.1f} ps; attempts: {'; '.join(tried)}."
    )
    half = attempt.temperatures[len(attempt.temperatures) // 2 :]
    drift = float(np.polyfit(np.linspace(0.0, 1.0, len(half)), half, 1)[0])
    if abs(drift) > max(3.0 * attempt.error, 0.02 * attempt.mean):
        findings.doubt(f"The temperature still drifts by {drift:+.0f} K over the averaged half; run longer.")
    findings.curves = {
        "times_ps": attempt.times.tolist(),
        "temperatures": attempt.temperatures.tolist(),
        "mean_temperature": attempt.mean,
        "error": attempt.error,
        "profile_order": attempt.order.tolist(),
        "profile_positions": ((np.arange(_LAYERS) + 0.5) / _LAYERS).tolist(),
    }
    return findings


def _attempt(case: Case, guess: float, number: int) -> _Attempt:
    settings = case.settings.melting
    start = _elongated(case)
    timestep = timestep_for(start, settings.timestep_fs)

    def stage(name: str, atoms: Atoms, ensemble: str, steps: int, kelvin: float, **more) -> Atoms:
        config = MDConfig(
            ensemble=ensemble,
            steps=steps,
            timestep_fs=timestep,
            temperature=kelvin,
            seed=settings.seed + number,
            trajectory_every=20,
            log_every=100,
            restart_every=500,
            **({"pressure_gpa": settings.pressure_gpa} if ensemble.startswith("npt") else {}),
            **more,
        )
        result = run(case, atoms, config, f"melting-{number}-{name}")
        case.say(f"melting: {name} done at {result.temperature:.0f} K")
        final = result.atoms.copy()
        final.set_constraint()
        return final

    solid = stage("solid", start, "npt", settings.preparation, guess)
    volumes = [frame.get_volume() for frame in _frames(case, f"melting-{number}-solid")]
    mean = float(np.mean(volumes[len(volumes) // 2 :]))
    solid.set_cell(solid.cell.array * (mean / solid.get_volume()) ** (1 / 3), scale_atoms=True)
    held = np.flatnonzero(solid.get_scaled_positions()[:, 2] < 0.5)
    solid.set_constraint(FixAtoms(held))
    molten = stage("melt", solid, "nvt-langevin", settings.preparation, _HOT * guess)
    molten.set_constraint(FixAtoms(held))
    cooled = stage("cool", molten, "nvt-langevin", settings.preparation, guess)
    settled = stage("settle", cooled, "npt-c", settings.preparation, guess, new_velocities=True)
    final = stage("coexist", settled, "npt-c", settings.steps, guess, thermostat_time_fs=_NEVER)
    frames = _frames(case, f"melting-{number}-coexist")
    return _Attempt(
        np.array([frame.info["time_ps"] for frame in frames]),
        np.array([temperature(frame) for frame in frames]),
        layer_order(case, start, final),
    )


def _elongated(case: Case) -> Atoms:
    settings = case.settings.melting
    copies = settings.supercell
    if copies is None:
        across = supercell_for(case.crystal, settings.length)
        along = supercell_for(case.crystal, 3.0 * settings.length)
        copies = (across[0], across[1], along[2])
    return case.supercell(settings.length, copies)


def _frames(case: Case, name: str) -> list[Atoms]:
    return ase.io.read(case.folder / f"{name}.extxyz", index=":", format="extxyz")


def layer_order(case: Case, perfect: Atoms, atoms: Atoms) -> np.ndarray:
    """Return how crystalline each layer along the long axis is: 1 in a perfect crystal, near 0 in a liquid.

    The order of a layer is |mean of exp(2 pi i k . s)| over its atoms, averaged over the shortest vectors k in the
    plane of the layers at which the perfect crystal scatters with every atom in phase.
    """
    vectors = _scattering_vectors(case.crystal, perfect)
    scaled = atoms.get_scaled_positions()
    layers = np.minimum((scaled[:, 2] * _LAYERS).astype(int), _LAYERS - 1)
    phases = np.exp(2j * np.pi * scaled[:, :2] @ vectors.T)
    return np.array(
        [
            np.abs(phases[layers == layer].mean(axis=0)).mean() if (layers == layer).any() else 0.0
            for layer in range(_LAYERS)
        ]
    )


def _scattering_vectors(crystal: Atoms, perfect: Atoms) -> np.ndarray:
    copies = np.rint(perfect.cell.lengths() / crystal.cell.lengths())[:2]
    candidates = [np.array(pair) for pair in product(range(-3, 4), repeat=2) if any(pair)]
    in_plane = crystal.get_scaled_positions()[:, :2]
    reciprocal = np.linalg.inv(crystal.cell.array).T[:2]
    good = [pair for pair in candidates if abs(np.exp(2j * np.pi * in_plane @ pair).mean()) > 0.99]
    lengths = np.array([np.linalg.norm(pair @ reciprocal) for pair in good])
    shortest = [pair * copies for pair, length in zip(good, lengths) if length < 1.01 * lengths.min()]
    return np.array(shortest, dtype=float)
