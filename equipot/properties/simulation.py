"""Simulations that properties are averaged from: resumable runs in the folder of the case."""

from __future__ import annotations

import ase.io
import numpy as np
from ase import Atoms

from equipot.properties.case import Case
from equipot.simulation.md import MDResult, run_md
from equipot.simulation.md_config import MDConfig


def timestep_for(atoms: Atoms, asked: float | None) -> float:
    """Return the time step (fs): what was asked for, else 2, or 1 with atoms below 20 amu, or 0.5 with hydrogen."""
    lightest = float(atoms.get_masses().min())
    return asked or (2.0 if lightest >= 20.0 else 1.0 if lightest >= 5.0 else 0.5)


def run(case: Case, atoms: Atoms, config: MDConfig, name: str) -> MDResult:
    """Run, or go on with, a simulation whose files carry ``name`` in the case's folder."""
    case.folder.mkdir(parents=True, exist_ok=True)
    trajectory = case.folder / f"{name}.extxyz"
    has_restart = trajectory.with_suffix(".restart").exists()
    return run_md(
        case.calculator,
        atoms,
        config,
        trajectory=trajectory,
        resume=has_restart,
        overwrite=not has_restart,
        progress=False,
    )


def simulate(case: Case, atoms: Atoms, config: MDConfig, name: str) -> list[Atoms]:
    """Run a simulation and return its frames."""
    return ase.io.read(run(case, atoms, config, name).trajectory, index=":", format="extxyz")


def temperature(frame: Atoms) -> float:
    """Return the temperature (K) a run wrote with its frame, which counts the degrees of freedom that could move."""
    return float(frame.info["temperature_K"]) if "temperature_K" in frame.info else frame.get_temperature()


def standard_error(series: np.ndarray, blocks: int = 8) -> float:
    """Standard error of the mean of a correlated series, from the scatter of the means of ``blocks`` blocks."""
    parts = [part.mean() for part in np.array_split(np.asarray(series, dtype=float), min(blocks, len(series)))]
    return float(np.std(parts, ddof=1) / np.sqrt(len(parts))) if len(parts) > 1 else float("nan")
