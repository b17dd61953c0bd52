"""Trajectory and log files that a resumed run continues without a frame missing, doubled or cut."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz
from ase.io.trajectory import Trajectory

from equipot.checkpoint.atomic import temporary_name
from equipot.errors import CheckpointError, DataError, UsageError

_COLUMNS = (
    ("step", 10),
    ("time/ps", 12),
    ("E_pot/eV", 17),
    ("E_kin/eV", 14),
    ("E_tot/eV", 17),
    ("E_conserved/eV", 17),
    ("T/K", 10),
    ("P/GPa", 11),
    ("V/A^3", 14),
    ("ns/day", 11),
)
_FORMATS = ("10d", "12.5f", "17.6f", "14.6f", "17.6f", "17.6f", "10.2f", "11.5f", "14.4f", "11.4g")


def check_suffix(path: Path) -> None:
    """Raise UsageError for a name that is no kind of trajectory."""
    if path.suffix not in (".extxyz", ".xyz", ".traj"):
        raise UsageError(f"{path}: a trajectory is named .extxyz, .xyz (both extended XYZ) or .traj (ASE's binary).")


def make_frame(atoms: Atoms, facts: dict, results: dict, constraints: list) -> Atoms:
    """Return a snapshot with facts (step, time, temperature) and results, under the user's own constraints."""
    frame = atoms.copy()
    frame.set_constraint(constraints)
    frame.info.update(facts)
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


class AppendedFile:
    """A file that grows, whose length at a restart is recorded so that what came after it can be cut off."""

    def __init__(self, path: Path, length: int | None) -> None:
        self.path = path
        try:
            if length is None:
                self._file = path.open("wb")
                return
            size = path.stat().st_size if path.exists() else 0
            if size < length:
                raise CheckpointError(
                    f"{path}: has {size} bytes, but {length} when the run was saved; it was changed "
                    "or removed since. Put it back or start a new run."
                )
            self._file = path.open("r+b")
            self._file.truncate(length)
            self._file.seek(length)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror}).") from error

    def write(self, text: str) -> None:
        """Append text and hand it to the operating system."""
        try:
            self._file.write(text.encode())
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}).") from error

    def sync(self) -> int:
        """Bring everything to the disk; return the length to record."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class ExtxyzTrajectory(AppendedFile):
    """Frames as extended XYZ; the recorded length is in bytes."""

    def append(self, frame: Atoms) -> None:
        """Write one frame in one piece."""
        text = io.StringIO()
        write_xyz(text, [frame])
        self.write(text.getvalue())


class BinaryTrajectory:
    """Frames in ASE's .traj; the recorded length is in frames, since the file cannot be cut at a byte."""

    def __init__(self, path: Path, length: int | None) -> None:
        self.path, self._count = path, length or 0
        try:
            if length is not None:
                self._keep(length)
            self._trajectory = Trajectory(str(path), "w" if length is None else "a")
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error}).") from error

    def _keep(self, length: int) -> None:
        if not self.path.is_file():
            raise CheckpointError(
                f"{self.path}: is gone, and the run was saved with {length} frames in it. Put it "
                "back or start a new run."
            )
        with Trajectory(str(self.path)) as old:
            if len(old) < length:
                raise CheckpointError(
                    f"{self.path}: has {len(old)} frames, but {length} when the run was saved; it "
                    "was changed since. Put it back or start a new run."
                )
            with temporary_name(self.path) as temporary:
                with Trajectory(str(temporary), "w") as new:
                    for index in range(length):
                        new.write(old[index])
                os.replace(temporary, self.path)

    def append(self, frame: Atoms) -> None:
        """Write one frame."""
        try:
            self._trajectory.write(frame)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error}).") from error
        self._count += 1

    def sync(self) -> int:
        """Bring everything to the disk; return the number of frames to record."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return self._count

    def close(self) -> None:
        """Close the file."""
        self._trajectory.close()


def open_trajectory(path: Path, length: int | None) -> ExtxyzTrajectory | BinaryTrajectory:
    """Open a trajectory by its suffix: new (``length`` None), or cut back to a recorded length and continued."""
    return (BinaryTrajectory if path.suffix == ".traj" else ExtxyzTrajectory)(path, length)


class Log(AppendedFile):
    """A table of numbers, readable by eye and by numpy.loadtxt; its header names every unit.

    T counts the degrees of freedom that can move (`simulation.freedom`; in a crystal LAMMPS' convention); P includes
    the kinetic part and is positive under compression; nan stands where a quantity does not exist.
    """

    header = "#" + "".join(f"{name:>{width}}" for name, width in _COLUMNS)[1:]

    def __init__(self, path: Path, length: int | None) -> None:
        super().__init__(path, length)
        if length is None:
            self.write(self.header + "\n")

    def append(self, row: tuple[float, ...]) -> str:
        """Write a row in the order of the header and return it as text."""
        line = "".join(
            f"{value:{form}}" if np.isfinite(value) else f"{'nan':>{width}}"
            for value, form, (_, width) in zip(row, _FORMATS, _COLUMNS)
        )
        self.write(line + "\n")
        return line
