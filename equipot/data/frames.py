"""What a frame is: one structure with its labels, its weights and the place it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

#: The three labels a potential is trained on, in the order they are reported.
LABELS = ("energy", "forces", "stress")


@dataclass
class RawFrame:
    """One structure as a format's reader hands it over, before anything is known about labels.

    Attributes:
        atoms: Structure without a calculator.
        info: Everything the file says about the configuration as a whole (comment keys, calculator results).
        arrays: Everything the file says per atom, each with N rows, other than positions and species.
        index: Number of the frame in its file, from 0.
        line: Line of the file the frame begins at, from 1, where the format has lines.
        note: Something about the frame the user should read.
        fault: Why the frame cannot be used though it can be read (its electronic structure did not converge), or None.
    """

    atoms: Atoms
    info: dict[str, Any]
    arrays: dict[str, np.ndarray]
    index: int
    line: int | None = None
    note: str | None = None
    fault: str | None = None

    @classmethod
    def of(
        cls,
        atoms: Atoms,
        index: int,
        info: dict[str, Any] | None = None,
        line: int | None = None,
        fault: str | None = None,
    ) -> RawFrame:
        """Take an ASE structure apart; its calculator's results join the keys per configuration or per atom."""
        info = dict(atoms.info if info is None else info)
        arrays = {key: value for key, value in atoms.arrays.items() if key not in ("numbers", "positions")}
        results = getattr(atoms.calc, "results", None) or {}
        for key, value in results.items():
            if value is None:
                continue
            per_atom = (
                isinstance(value, np.ndarray)
                and value.ndim > 0
                and len(value) == len(atoms)
                and key not in ("stress", "dipole", "magmom")
            )
            target = arrays if per_atom else info
            target[key if key not in target else f"{key} (calculator)"] = value
        atoms.calc = None
        return cls(atoms, info, arrays, index, line, fault=fault)


@dataclass
class RawFile:
    """What a format's reader found in a file.

    Attributes:
        format: Name of the format.
        frames: Every frame, in the file's order.
        notes: Sentences about the file that the user should read.
    """

    format: str
    frames: list[RawFrame]
    notes: list[str] = field(default_factory=list)


@dataclass
class Frame:
    """One structure and what is known about it, in eV and Angstrom.

    Attributes:
        atoms: Structure without a calculator.
        energy: Total energy (eV), NaN where the file has none.
        forces: (N, 3) eV/Angstrom, or None.
        stress: (3, 3) eV/Angstrom^3, symmetric, positive under tension as in ASE, or None.
        config_type: Name of the group of configurations the frame belongs to.
        energy_weight, forces_weight, stress_weight: Factors on the frame's terms in the loss.
        source: ``"file frame 12"``: for messages.
        index: Number of the frame in its file, from 0.
        info: The frame's other keys, as read.
    """

    atoms: Atoms
    energy: float = float("nan")
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    config_type: str = "default"
    energy_weight: float = 1.0
    forces_weight: float = 1.0
    stress_weight: float = 1.0
    source: str = ""
    index: int = 0
    info: dict[str, Any] = field(default_factory=dict)

    def has(self, label: str) -> bool:
        """Whether the frame carries ``energy``, ``forces`` or ``stress``."""
        return bool(np.isfinite(self.energy)) if label == "energy" else getattr(self, label) is not None

    @property
    def volume(self) -> float:
        """Volume of the cell (Angstrom^3), or NaN where the structure is not periodic in three directions."""
        volume = abs(float(np.linalg.det(self.atoms.cell.array)))
        return volume if self.atoms.pbc.all() and volume > 0.0 else float("nan")


@dataclass(frozen=True)
class BadFrame:
    """A frame that was left out, and why."""

    index: int
    where: str
    reason: str


@dataclass
class ReadReport:
    """What reading one file found: formats, keys, coverage, frames left out, warnings.

    Attributes:
        path: File as it was asked for.
        format: ``extxyz``, ``ase-db``, ``traj``, ``vasprun`` or ``outcar``.
        num_frames: Frames in the file, those left out included.
        keys: Label -> the key it was read from, or None.
        coverage: Label -> (frames that have it, frames kept).
        available: ``info`` and ``arrays`` -> the keys that are in the file.
        skipped: Frames left out because of ``on_bad="skip"``.
        warnings: Sentences the user should read.
        stress_sign: What the frames prove about the sign and unit of the stress (see ``stress_sign.SignProof``).
    """

    path: str
    format: str
    num_frames: int = 0
    keys: dict[str, str | None] = field(default_factory=dict)
    coverage: dict[str, tuple[int, int]] = field(default_factory=dict)
    available: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[BadFrame] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stress_sign: Any = None

    def lines(self) -> list[str]:
        """Printable lines: one for the file, one a label, one a frame left out, one a warning."""
        kept = self.num_frames - len(self.skipped)
        lines = [f"{self.path}: {self.num_frames} frames" + (f", {kept} kept" if self.skipped else "")]
        lines += self.label_lines()
        lines += [f"  left out: {bad.where}: {bad.reason}" for bad in self.skipped]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        return lines

    def label_lines(self) -> list[str]:
        """One line a label: its key, and how many of the frames that were kept have it."""
        kept = self.num_frames - len(self.skipped)
        lines = []
        for label in LABELS:
            present, total = self.coverage.get(label, (0, kept))
            key = self.keys.get(label)
            lines.append(f"  {label:<7} {'not read' if key is None else key:<20} {present}/{total} frames")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The report as plain lists, numbers and strings (for JSON)."""
        return {
            "path": self.path,
            "format": self.format,
            "num_frames": self.num_frames,
            "keys": dict(self.keys),
            "coverage": {label: list(counts) for label, counts in self.coverage.items()},
            "available": {place: list(keys) for place, keys in self.available.items()},
            "skipped": [{"frame": bad.index, "where": bad.where, "reason": bad.reason} for bad in self.skipped],
            "warnings": list(self.warnings),
            "stress_sign": None if self.stress_sign is None else self.stress_sign.to_dict(),
        }


@dataclass
class FrameFile:
    """The frames of one file and the report of how they were read."""

    frames: list[Frame]
    report: ReadReport

    def __len__(self) -> int:
        return len(self.frames)
