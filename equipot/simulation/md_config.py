"""The settings of a molecular dynamics run, each with its meaning, unit and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from equipot.config.limits import Count, NonNegative, Positive, PositiveInt, Seed
from equipot.config.section import Section

#: ``npt`` lets the volume change at fixed shape, ``npt-c`` only the length of the third lattice vector, ``npt-full``
#: the whole cell.
Ensemble = Literal["nve", "nvt-langevin", "nvt-nose-hoover", "npt", "npt-c", "npt-full"]

#: Settings that a resumed run may change.
CHANGEABLE = ("steps", "trajectory_every", "log_every", "restart_every", "max_temperature", "min_distance")


@dataclass(frozen=True)
class MDConfig(Section):
    """What to simulate. Checked when it is made; a setting that has no effect in the ensemble is an error."""

    ensemble: Ensemble = "nvt-langevin"
    #: Steps of the whole run, the part before a resume included.
    steps: Count = 10_000
    timestep_fs: Positive = 1.0
    #: K: of the thermostat, and of the initial velocities.
    temperature: NonNegative = 300.0
    #: GPa, compression positive (npt, npt-c, npt-full).
    pressure_gpa: float = 0.0
    #: 1/ps (nvt-langevin).
    friction_per_ps: Positive = 10.0
    #: Relaxation time of the Nose-Hoover chain; default 100 steps (nvt-nose-hoover, npt, npt-c, npt-full).
    thermostat_time_fs: Positive | None = None
    #: Relaxation time of the barostat; default 1000 steps (npt, npt-c, npt-full).
    barostat_time_fs: Positive | None = None
    #: Copies of the structure along its lattice vectors.
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    #: Of initial velocities and Langevin noise.
    seed: Seed = 0
    #: Draw initial velocities also where the structure brings some.
    new_velocities: bool = False
    #: Steps between frames, rows of the log, and restart files.
    trajectory_every: PositiveInt = 100
    log_every: PositiveInt = 100
    restart_every: PositiveInt = 1000
    #: K: above this the run has exploded and stops; default the larger of 10 000 K and ten times the temperature.
    max_temperature: Positive | None = None
    #: Angstrom: atoms closer than this have collapsed and the run stops.
    min_distance: NonNegative = 0.3

    def ineffective(self) -> dict[str, str]:
        """Name the settings the ensemble does not use."""
        reasons = {}
        if not self.is_npt:
            reasons |= dict.fromkeys(("pressure_gpa", "barostat_time_fs"), f"ensemble {self.ensemble} has no barostat")
        if self.ensemble != "nvt-langevin":
            reasons["friction_per_ps"] = f"ensemble {self.ensemble} has no friction"
        if self.ensemble in ("nve", "nvt-langevin"):
            reasons["thermostat_time_fs"] = f"ensemble {self.ensemble} has no Nose-Hoover chain"
        return reasons

    @property
    def is_npt(self) -> bool:
        """Whether the cell changes."""
        return self.ensemble in ("npt", "npt-c", "npt-full")

    @property
    def temperature_limit(self) -> float:
        """Temperature (K) at which the run counts as exploded."""
        return self.max_temperature or max(10_000.0, 10.0 * self.temperature)
