"""Molecular dynamics with a potential: a run that logs, saves itself, stops on a signal and resumes to the bit."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.io.extxyz import write_xyz
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from equipot.data.structures import read_structure
from equipot.elements import require_elements
from equipot.errors import CheckpointError, Interrupted, NumericalError, StructureError, UsageError
from equipot.interfaces.ase import Calculator
from equipot.models import Potential
from equipot.simulation.dynamics import build_dynamics, get_state, hold_center_of_mass, initial_velocities, set_state
from equipot.simulation.freedom import find_freedom, for_dynamics
from equipot.simulation.md_config import MDConfig
from equipot.simulation.md_restart import Restart, write_restart
from equipot.simulation.trajectory import Log, check_suffix, make_frame, open_trajectory
from equipot.system.allocator import keep_freed_memory
from equipot.system.claims import claim
from equipot.system.signals import stop_on_signal
from equipot.units import GPA_PER_EV_A3, MEV_PER_EV


@dataclass(frozen=True)
class MDResult:
    """What a finished run leaves.

    Attributes:
        atoms: final structure with velocities and calculator.
        steps: steps of the whole run.
        time_ps: simulated time.
        temperature: of the final structure (K), counting the degrees of freedom that can move.
        drift_mev_per_atom_per_ps: slope of a straight line through the conserved quantity (E_tot for nve) over the rows
            logged in this session; None where there is none or fewer than three rows.
        trajectory, log, restart: the files.
    """

    atoms: Atoms
    steps: int
    time_ps: float
    temperature: float
    drift_mev_per_atom_per_ps: float | None
    trajectory: Path
    log: Path
    restart: Path


def run_md(
    model: str | Path | Potential | BaseCalculator,
    structure: str | Path | Atoms,
    config: MDConfig | None = None,
    *,
    trajectory: str | Path = "md.extxyz",
    log: str | Path | None = None,
    restart: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    dtype: str | None = None,
    skin: float = 0.5,
    report: Callable[[str], None] | None = None,
    progress: bool | None = None,
) -> MDResult:
    """Run molecular dynamics.

    A restart file is written at the start, every ``restart_every`` steps, at the end, and on SIGTERM, SIGINT or
    SIGUSR1. A run resumed from it gives the same trajectory and log, to the bit, as one that was never stopped (same
    machine, versions and calculator); what was written after the restart file is cut off first.

    Args:
        model: model file, `Potential`, or any ASE calculator.
        structure: file or atoms; velocities in it are used. It is not changed. When resuming, the same structure.
        config: what to simulate.
        trajectory: frames, ``.extxyz`` or ``.traj``.
        log: table of energies, temperature, pressure, volume, speed; default: beside the trajectory, ``.log``.
        restart: default: beside the trajectory, ``.restart``.
        resume: go on from the restart file; where there is none yet, start.
        overwrite: replace files of an earlier run.
        device, dtype, skin: as for `Calculator`; not used where ``model`` is a calculator.
        report: called with the header and each row of the log, to show them.
        progress: show a bar on stderr; None: where that is a terminal.

    Returns:
        The final structure and where everything is.

    Raises:
        UsageError: settings, files or ensemble that do not go together, or another run is writing the files.
        NumericalError: the simulation exploded; the last good frame is saved and named.
        Interrupted: a signal came; the run is saved (exit code 75).
    """
    trajectory = Path(trajectory)
    paths = {
        "trajectory": trajectory,
        "log": Path(log or trajectory.with_suffix(".log")),
        "restart": Path(restart or trajectory.with_suffix(".restart")),
    }
    check_suffix(trajectory)
    with claim(*paths.values(), make_folders=True):
        run = _Run(
            model,
            structure,
            config or MDConfig(),
            paths,
            resume,
            overwrite,
            {"device": device, "dtype": dtype, "skin": skin},
            report,
        )
        return run.go(sys.stderr.isatty() if progress is None else progress)


class _Run:
    """One session of a run: its atoms, integrator and files."""

    def __init__(
        self,
        model,
        structure,
        config: MDConfig,
        paths: dict[str, Path],
        resume: bool,
        overwrite: bool,
        calculator_options: dict,
        report,
    ) -> None:
        self.config, self.report, self.paths = config, report or (lambda line: None), paths
        if len({path.resolve() for path in self.paths.values()}) < 3:
            raise UsageError(
                f"Trajectory, log and restart need three different files, not "
                f"{', '.join(str(path) for path in self.paths.values())}."
            )
        saved = self._find_saved(resume, overwrite)
        source = structure if isinstance(structure, Atoms) else read_structure(structure)
        for copies, is_periodic, axis in zip(config.supercell, source.pbc, "abc"):
            if copies > 1 and not is_periodic:
                raise UsageError(
                    f"The structure is not periodic along its lattice vector {axis} and cannot be "
                    f"repeated {copies} times there."
                )
        if len(source) == 0:
            raise UsageError("Molecular dynamics needs at least one atom, and the structure has none.")
        require_elements(source.numbers, "structure")
        self.atoms = _supercell(source, config)
        self.constraints = list(self.atoms.constraints)
        self.atoms.set_constraint(for_dynamics(self.atoms))
        self.atoms.calc = model if isinstance(model, BaseCalculator) else Calculator(model, **calculator_options)
        self.rng = np.random.Generator(np.random.PCG64(config.seed))
        hold_center_of_mass(self.atoms, config)
        if saved is None:
            self.freedom = initial_velocities(self.atoms, config, self.rng)
        else:
            saved.apply(self.atoms, config, self.rng)
            self.freedom = find_freedom(self.atoms, config.ensemble)
        self.dynamics = build_dynamics(self.atoms, config, self.rng, self.freedom)
        self.step, self.files, self.rows = 0, {}, []
        if saved is not None:
            try:
                set_state(self.dynamics, config.ensemble, saved.state)
            except CheckpointError as error:
                raise CheckpointError(f"{saved.path}: {error}") from None
            self.dynamics.nsteps = self.step = saved.step
            self.files = saved.files
        self.good = self._snapshot()

    # --- the run

    def go(self, progress: bool) -> MDResult:
        config = self.config
        with ExitStack() as stack:
            calculator = self.atoms.calc
            if isinstance(calculator, Calculator):
                stack.callback(setattr, calculator, "min_distance", calculator.min_distance)
                calculator.min_distance = max(calculator.min_distance, config.min_distance)
            self.atoms.get_forces()  # an element or structure the potential refuses is said before any file is made
            if not self.files:
                self.paths["restart"].unlink(missing_ok=True)  # it would not fit the files that are begun now
            self.trajectory = open_trajectory(self.paths["trajectory"], self.files.get("trajectory"))
            stack.callback(self.trajectory.close)
            self.log = Log(self.paths["log"], self.files.get("log"))
            stack.callback(self.log.close)
            self.report(Log.header)
            keep_freed_memory()
            self.clock, self.clock_step = time.perf_counter(), self.step
            if not self.files:
                self._record()
                self._save()
            stop, bar = stack.enter_context(stop_on_signal()), stack.enter_context(_progress_bar(progress))
            task = bar.add_task("md", total=config.steps, completed=self.step, temperature="")
            while self.step < config.steps and not stop():
                self._advance()
                self._record()
                if self.step % config.restart_every == 0:
                    self._save()
                bar.update(task, completed=self.step)
            self._save()
        if self.step < config.steps:
            raise Interrupted(
                f"Stopped by {stop.signal_name} after step {self.step} of {config.steps}; everything is "
                f"saved in {self.paths['restart']}, resume goes on from there."
            )
        self.atoms.set_constraint(self.constraints)
        temperature = self.freedom.temperature(self.atoms)
        return MDResult(self.atoms, self.step, self._time_ps(), temperature, self._drift(), **self.paths)

    def _advance(self) -> None:
        """Do one step, and stop where it led out of physics."""
        try:
            self.dynamics.step()
        except (StructureError, NumericalError) as error:
            raise self._explosion(str(error)) from error
        temperature = self.freedom.temperature(self.atoms)
        if not temperature <= self.config.temperature_limit:
            raise self._explosion(
                f"The temperature is {temperature:.4g} K, above the limit of {self.config.temperature_limit:g} K."
            )
        self.step += 1
        self.dynamics.nsteps = self.step
        self.good = self._snapshot()

    def _snapshot(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.atoms.positions.copy(), self.atoms.arrays["momenta"].copy(), self.atoms.cell.array.copy()

    def _explosion(self, reason: str) -> NumericalError:
        frame = self.atoms.copy()
        frame.set_constraint()
        frame.positions, frame.arrays["momenta"], cell = self.good
        frame.set_cell(cell)
        frame.info.update(step=self.step, time_ps=round(self._time_ps(), 9))
        path = self.paths["trajectory"].with_suffix(".last-good.extxyz")
        with path.open("w", encoding="utf-8") as file:
            write_xyz(file, [frame])
        return NumericalError(
            f"The simulation failed at step {self.step + 1}: {reason} The last good frame (step "
            f"{self.step}) is in {path}. A shorter timestep (now {self.config.timestep_fs:g} fs), a "
            "relaxed start or a potential trained on such structures helps."
        )

    def _time_ps(self) -> float:
        return self.step * self.config.timestep_fs / 1000.0

    # --- what is written

    def _record(self) -> None:
        """Write a frame and a row of the log where they are due."""
        frame_is_due = self.step % self.config.trajectory_every == 0
        row_is_due = self.step % self.config.log_every == 0
        if not (frame_is_due or row_is_due):
            return
        atoms = self.atoms
        results = {
            "energy": atoms.get_potential_energy(apply_constraint=False),
            "forces": atoms.get_forces(apply_constraint=False),
        }
        with suppress(PropertyNotImplementedError, NotImplementedError):  # a molecule has none
            results["stress"] = atoms.get_stress(apply_constraint=False)
        if frame_is_due:
            facts = {
                "step": self.step,
                "time_ps": round(self._time_ps(), 9),
                "temperature_K": self.freedom.temperature(atoms),
            }
            self.trajectory.append(make_frame(atoms, facts, results, self.constraints))
        if row_is_due:
            self._log(results)

    def _log(self, results: dict) -> None:
        atoms, nan = self.atoms, float("nan")
        potential, kinetic = atoms.get_potential_energy(), atoms.get_kinetic_energy()  # with springs (Hookean)
        conserved = potential + kinetic if self.config.ensemble == "nve" else nan
        if hasattr(self.dynamics, "get_conserved_energy"):
            with suppress(PropertyNotImplementedError):  # a calculator without free energy
                conserved = self.dynamics.get_conserved_energy()
        volume, pressure = nan, nan
        if atoms.cell.rank == 3 and "stress" in results:
            volume = atoms.get_volume()
            pressure = (-results["stress"][:3].mean() + 2.0 * kinetic / (3.0 * volume)) * GPA_PER_EV_A3
        elapsed, steps = time.perf_counter() - self.clock, self.step - self.clock_step
        speed = steps * self.config.timestep_fs * 1e-6 / elapsed * 86400.0 if steps else nan
        self.clock, self.clock_step = time.perf_counter(), self.step
        row = (
            self.step,
            self._time_ps(),
            potential,
            kinetic,
            potential + kinetic,
            conserved,
            self.freedom.temperature(atoms),
            pressure,
            volume,
            speed,
        )
        self.rows.append((self._time_ps(), conserved))
        self.report(self.log.append(row))

    def _drift(self) -> float | None:
        rows = np.array(self.rows).reshape(-1, 2)
        if len(rows) < 3 or not np.isfinite(rows).all():
            return None
        return float(np.polyfit(rows[:, 0], rows[:, 1], 1)[0]) / len(self.atoms) * MEV_PER_EV

    # --- saving and resuming

    def _find_saved(self, resume: bool, overwrite: bool) -> Restart | None:
        """Return what to go on from, or None for a new run whose files are free to write."""
        if resume and self.paths["restart"].exists():
            return Restart(self.paths["restart"])
        existing = [str(path) for path in self.paths.values() if path.exists()]
        if existing and not overwrite:
            missing = f"there is no {self.paths['restart']} to resume from, but " if resume else ""
            raise UsageError(
                f"{missing}{', '.join(existing)} exist{'s' if len(existing) == 1 else ''} already; choose "
                "another trajectory name, resume, or overwrite."
            )
        return None

    def _save(self) -> None:
        """Bring trajectory and log to the disk, then write the restart file that speaks of them."""
        files = {"trajectory": self.trajectory.sync(), "log": self.log.sync()}
        write_restart(
            self.paths["restart"],
            self.atoms,
            self.config,
            self.step,
            get_state(self.dynamics, self.config.ensemble),
            self.rng,
            files,
        )


def _supercell(source: Atoms, config: MDConfig) -> Atoms:
    """Return the copies of a structure; most constraints of ASE cannot be repeated, not even once."""
    if config.supercell == (1, 1, 1):
        return source.copy()
    try:
        return source.repeat(config.supercell)
    except NotImplementedError:
        names = ", ".join(sorted({type(constraint).__name__ for constraint in source.constraints}))
        raise UsageError(
            f"The structure carries constraints ({names}) that cannot be repeated in a supercell; give the supercell "
            "itself with its constraints, or remove them."
        ) from None


def _progress_bar(is_shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.completed}/{task.total} steps"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not is_shown,
    )
