"""Group V: molecular dynamics with the model conserves energy, scales with the timestep, and does not explode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from equipot.checks.model.registry import Context, check
from equipot.checks.model.result import Measure
from equipot.checks.model.structures import repeated
from equipot.checks.model.tolerances import (
    CENTER_OF_MASS,
    CLOSEST,
    DRIFT,
    HOTTEST,
    REVERSIBILITY,
    TIMESTEP_RATIO,
)
from equipot.checks.model.volumes import closest_pair, scaled
from equipot.checks.verdicts import Skip
from equipot.errors import EquipotError
from equipot.simulation.dynamics import initial_velocities
from equipot.simulation.freedom import find_freedom
from equipot.simulation.md_config import MDConfig
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV

_TEMPERATURE = 300.0
_MOST_ATOMS = 300


def timestep(atoms: Atoms) -> float:
    """A timestep (fs) that follows the lightest atom: 0.3 with hydrogen, 2 from copper on."""
    return float(np.clip(0.28 * np.sqrt(atoms.get_masses().min()), 0.25, 2.0))


def prepared(context: Context, atoms: Atoms, temperature: float, calculator) -> Atoms:
    """A supercell with velocities of twice the temperature, half of which becomes potential energy."""
    cell = repeated(atoms, 16 if context.is_short else 50)
    cell.calc = calculator
    config = MDConfig(ensemble="nve", temperature=2.0 * temperature, seed=context.settings.seed)
    initial_velocities(cell, config, context.rng())
    return cell


def _structure(context: Context) -> tuple[str, Atoms]:
    """The smallest structure there is to simulate: the drift of one is that of all."""
    found = {name: atoms for name, atoms in context.simulated.items() if len(atoms) <= _MOST_ATOMS}
    if not found:
        raise Skip(f"every structure has more than {_MOST_ATOMS} atoms")
    name = next(iter(found))
    return name, found[name]


def _run(atoms: Atoms, step_fs: float, steps: int, context: Context) -> np.ndarray:
    """Total energy (eV) after each step."""
    dynamics = VelocityVerlet(atoms, step_fs * units.fs)
    energies = np.empty(steps + 1)
    energies[0] = atoms.get_total_energy()
    for number in range(1, steps + 1):
        dynamics.step()
        energies[number] = atoms.get_total_energy()
        if context.stop is not None and context.stop():
            raise Skip("stopped")
    return energies


def slope_and_error(times: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line and its standard error, the latter from the scatter of blocks (correlated points)."""
    slope = float(np.polyfit(times, values, 1)[0])
    blocks = np.array_split(np.arange(len(times)), 10)
    means = np.array([values[block].mean() for block in blocks])
    middles = np.array([times[block].mean() for block in blocks])
    rest = means - np.polyval(np.polyfit(middles, means, 1), middles)
    error = np.sqrt((rest**2).sum() / (len(means) - 2) / ((middles - middles.mean()) ** 2).sum())
    return slope, float(error)


@check("V1", "energy is conserved in NVE dynamics")
def drift(context: Context) -> Iterator[Measure]:
    """Slope of the total energy at 300 K; the momentum stays zero (V3)."""
    name, start = _structure(context)
    picoseconds = context.settings.nve_ps or (0.4 if context.is_short else 8.0)
    atoms = prepared(context, start, _TEMPERATURE, context.subject.calculator())
    step = timestep(atoms)
    steps = max(60, round(1000 * picoseconds / step))
    energies = _run(atoms, step, steps, context)
    times = np.arange(steps + 1) * step / 1000.0
    kept = slice(steps // 5, None)  # the perfect lattice's first oscillations
    values = (energies - energies[0]) / len(atoms) * MEV_PER_EV
    slope, error = slope_and_error(times[kept], values[kept])
    context.curves["nve"] = {
        "name": name,
        "atoms": len(atoms),
        "times_ps": times,
        "energies_mev_per_atom": values,
        "timestep_fs": step,
        "drift": slope,
        "drift_error": error,
        "temperature": find_freedom(atoms, "nve").temperature(atoms),
    }
    where = f"{name}, {len(atoms)} atoms, {times[-1]:.2g} ps of {step:.2g} fs"
    yield Measure("drift", abs(slope), DRIFT[context.dtype] + 2.0 * error, "meV/atom/ps", where)
    velocity = np.abs(atoms.get_momenta().sum(0)) / atoms.get_masses().sum() * units.fs * 1000.0
    yield Measure("centre of mass moves at", float(velocity.max()), CENTER_OF_MASS[context.dtype], "Å/ps", where)
    yield Measure("energy range", float(np.ptp(values[kept])), np.inf, "meV/atom", where)


@check("V2", "energy fluctuations scale with the square of the timestep", short=False)
def timestep_scaling(context: Context) -> Iterator[Measure]:
    """Velocity Verlet on forces that are a smooth gradient: twice the step, four times the fluctuation."""
    name, start = _structure(context)
    fluctuations = []
    step = 0.5 * timestep(start)
    for factor in (1, 2):
        atoms = prepared(context, start, _TEMPERATURE, context.exact.calculator())
        energies = _run(atoms, factor * step, round(400 / step / factor), context)
        fluctuations.append(float(np.std(energies)) / len(atoms))
    yield Measure(
        "fluctuation ratio is off 4 by",
        abs(fluctuations[1] / fluctuations[0] - 4.0),
        TIMESTEP_RATIO,
        "",
        f"{name}, {step:.2g} and {2 * step:.2g} fs",
    )


@check("V4", "dynamics can be run backwards", short=False)
def reversibility(context: Context) -> Iterator[Measure]:
    """200 steps, velocities turned round, 200 steps: back where it began."""
    name, start = _structure(context)
    atoms = prepared(context, start, _TEMPERATURE, context.exact.calculator())
    positions, step = atoms.positions.copy(), timestep(atoms)
    _run(atoms, step, 200, context)
    atoms.set_momenta(-atoms.get_momenta())
    _run(atoms, step, 200, context)
    yield Measure("off the start by", float(np.abs(atoms.positions - positions).max()), REVERSIBILITY, "Å", name)


def _compressed_to(context: Context, atoms: Atoms, pressure: float) -> Atoms | None:
    """The crystal at the volume where its own stress is the pressure (GPa); None where it never gets there."""
    if pressure == 0.0:
        return atoms
    if not atoms.pbc.all():
        return None
    low, high = 0.75, 1.0
    for _ in range(25):
        middle = 0.5 * (low + high)
        stress = context.subject.evaluate(scaled(atoms, middle)).stress
        if stress is None:
            return None
        if -float(np.trace(stress)) / 3 * GPA_PER_EV_A3 > pressure:
            low = middle
        else:
            high = middle
    return scaled(atoms, low) if low > 0.75 else None


@check("V6", "dynamics at the first temperature and pressure is stable")
def stable(context: Context) -> Iterator[Measure]:
    """Langevin dynamics where every simulation begins: this has to work."""
    yield from _stability(context, [(context.settings.temperatures[0], context.settings.pressures_gpa[0])])


@check("V11", "dynamics stays stable when hot and dense", severity="warn", short=False)
def stable_everywhere(context: Context) -> Iterator[Measure]:
    """All other temperatures and pressures asked for."""
    settings = context.settings
    conditions = [
        (temperature, pressure) for pressure in settings.pressures_gpa for temperature in settings.temperatures
    ]
    if len(conditions) == 1:
        raise Skip("one temperature and pressure were asked for: see V6")
    yield from _stability(context, conditions[1:])


def _stability(context: Context, conditions: list[tuple[float, float]]) -> Iterator[Measure]:
    steps = context.settings.md_steps or (200 if context.is_short else 2000)
    rows = context.curves.setdefault("stability", [])
    for name, start in context.simulated.items():
        if len(start) > _MOST_ATOMS:
            continue
        for temperature, pressure in conditions:
            cell = _compressed_to(context, start, pressure)
            if cell is None:
                continue
            row = _langevin(context, cell, temperature, steps)
            rows.append({"name": name, "pressure_gpa": pressure, **row})
            where = f"{name}, {temperature:g} K, {pressure:g} GPa"
            yield Measure("failed at step", float(row["failed_at"]), 0.0, row["reason"] or f"of {steps}", where)
            yield Measure("hottest over thermostat", row["hottest"] / temperature, HOTTEST, "", where)
            yield Measure("closest pair lost", 1.0 - row["closest"], 1.0 - CLOSEST, "of the distance", where)
        if context.is_short:
            return


def _langevin(context: Context, atoms: Atoms, temperature: float, steps: int) -> dict:
    """What happened in one run: hottest temperature (K), closest pair over that of the start, step it failed at."""
    cell = prepared(context, atoms, 0.5 * temperature, context.subject.calculator())
    step = timestep(cell)
    dynamics = Langevin(
        cell, step * units.fs, temperature_K=temperature, friction=0.01 / units.fs, fixcm=False, rng=context.rng()
    )
    apart = closest_pair(cell)
    row = {
        "temperature": temperature,
        "steps": steps,
        "timestep_fs": step,
        "atoms": len(cell),
        "hottest": 0.0,
        "closest": 1.0,
        "failed_at": 0,
        "reason": "",
    }
    for number in range(1, steps + 1):
        try:
            dynamics.step()
        except (EquipotError, ValueError, FloatingPointError) as error:
            return {**row, "failed_at": number, "reason": str(error)[:80]}
        present = cell.get_temperature()
        row["hottest"] = max(row["hottest"], float(present))
        if not present < 100.0 * temperature + 1e4:
            return {**row, "failed_at": number, "reason": f"{present:.3g} K"}
        if number % 20 == 0 or number == steps:
            row["closest"] = min(row["closest"], closest_pair(cell) / apart)
        if context.stop is not None and context.stop():
            raise Skip("stopped")
    return row
