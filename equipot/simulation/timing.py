"""How long a calculator needs for a step of molecular dynamics, and how much memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units

from equipot.interfaces.ase import Calculator
from equipot.system.memory import peak_memory, reset_peak_memory

#: Steps before the clock counts: buffers grow, caches fill, threads start.
_WARM_UP_STEPS = 3
_FEW_STEPS, _MAX_STEPS = 5, 1000
#: Of the oscillations, fs: slow enough that atoms of a warm metal move as far as they do (0.13 Å, tantalum at 300 K).
_PERIOD_FS = 400.0


@dataclass(frozen=True)
class StepTime:
    """Time and memory of one step.

    Attributes:
        num_atoms: in the structure.
        num_steps: timed.
        seconds: a step; the medians of the steps with and without a new neighbour list, in proportion.
        quartiles: 25 and 75 % of all steps, s.
        steps_per_list: steps between two builds of the neighbour list; None where none was built.
        peak_bytes: most memory the process held meanwhile; None where the system does not say.
    """

    num_atoms: int
    num_steps: int
    seconds: float
    quartiles: tuple[float, float]
    steps_per_list: float | None
    peak_bytes: int | None

    @property
    def us_per_atom(self) -> float:
        """Microseconds an atom and step."""
        return 1e6 * self.seconds / self.num_atoms

    def ns_per_day(self, timestep_fs: float) -> float:
        """Nanoseconds of simulated time a day."""
        return 86400.0 / self.seconds * timestep_fs * 1e-6


class Motion:
    """Atoms that vibrate about their places, each with phases of its own, as fast as at a temperature.

    Unlike dynamics, it cannot explode, and it is the same for every model.

    Args:
        atoms: where they vibrate about.
        temperature: K.
        timestep_fs: between two steps.
        seed: of the phases.
    """

    def __init__(self, atoms: Atoms, *, temperature: float = 300.0, timestep_fs: float = 1.0, seed: int = 0) -> None:
        frequency = 2.0 * np.pi / (_PERIOD_FS * units.fs)
        amplitude = np.sqrt(2.0 * units.kB * temperature / atoms.get_masses()) / frequency
        self._places, self._amplitude = atoms.get_positions(), amplitude[:, None]
        self._phases = np.random.default_rng(seed).uniform(0.0, 2.0 * np.pi, self._places.shape)
        self._angle = 2.0 * np.pi * timestep_fs / _PERIOD_FS

    def positions(self, step: int) -> np.ndarray:
        """Return the positions at a step, (N, 3) Å."""
        return self._places + self._amplitude * np.sin(self._phases + step * self._angle)


def time_steps(
    calculator: Calculator,
    atoms: Atoms,
    *,
    seconds: float = 3.0,
    stress: bool = False,
    temperature: float = 300.0,
    timestep_fs: float = 1.0,
) -> StepTime:
    """Time energy and forces of moving atoms through ASE, neighbour list included.

    Args:
        calculator: to time.
        atoms: the structure; not changed.
        seconds: about how long to measure; five steps where that takes no more than three times as long, else two.
        stress: whether each step needs the stress too, as at constant pressure.
        temperature: K, of the motion.
        timestep_fs: of the motion.
    """
    atoms, motion = atoms.copy(), Motion(atoms, temperature=temperature, timestep_fs=timestep_fs)
    atoms.calc = calculator
    reset_peak_memory()

    def step(number: int) -> float:
        atoms.positions = motion.positions(number)
        started = time.perf_counter()
        if stress:
            atoms.get_stress()
        atoms.get_forces()
        atoms.get_potential_energy()
        return time.perf_counter() - started

    started = time.perf_counter()
    for number in range(_WARM_UP_STEPS):
        step(number)
        if time.perf_counter() - started > 3.0 * max(seconds, 1.0):
            break
    times, is_new, started = [], [], time.perf_counter()

    def is_enough() -> bool:
        spent = time.perf_counter() - started
        few = _FEW_STEPS if spent < 3.0 * max(seconds, 1.0) else 2
        return len(times) >= _MAX_STEPS or (len(times) >= few and spent >= seconds)

    while not is_enough():
        lists_before = calculator._neighbors.num_builds
        times.append(step(_WARM_UP_STEPS + len(times)))
        is_new.append(calculator._neighbors.num_builds > lists_before)
    return _summarize(len(atoms), np.array(times), np.array(is_new))


def _summarize(num_atoms: int, times: np.ndarray, is_new: np.ndarray) -> StepTime:
    share = float(is_new.mean())
    parts = [(1.0 - share, times[~is_new]), (share, times[is_new])]
    seconds = sum(weight * float(np.median(part)) for weight, part in parts if len(part))
    low, high = np.quantile(times, (0.25, 0.75))
    return StepTime(
        num_atoms, len(times), seconds, (float(low), float(high)), 1.0 / share if share else None, peak_memory()
    )
