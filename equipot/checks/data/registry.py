"""The list of checks on data, and what they work on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from equipot.checks import registry
from equipot.checks.data.result import CheckResult, Finding, Place
from equipot.checks.data.step_fits import Fit, fit_groups, force_fit, stress_fit
from equipot.checks.data.steps import Step, near_steps
from equipot.checks.data.survey import Survey, survey_frames
from equipot.checks.registry import Check, Registry
from equipot.checks.verdicts import STATUSES, Skip
from equipot.data.atomic_energies import AtomicEnergies, fit_atomic_energies
from equipot.data.frames import Frame, FrameFile
from equipot.data.isolated import is_isolated_atom
from equipot.elements import sorted_symbols

#: Called with (what, done, total).
Progress = Callable[[str, int, int], None]


@dataclass
class Context:
    """What a check works on.

    Attributes:
        files: As read.
        against: Files the others are compared with (a test set).
        cutoff: Angstrom, of the potential to be trained.
        progress: Told of long passes.
        curves: Filled by checks, drawn by the report.
    """

    files: list[FrameFile]
    against: list[FrameFile]
    cutoff: float
    progress: Progress
    curves: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def frames(self) -> list[Frame]:
        """All frames of all files; a frame's position is its number in this list."""
        return [frame for file in self.files for frame in file.frames]

    @cached_property
    def against_frames(self) -> list[Frame]:
        """The frames of ``against``."""
        return [frame for file in self.against for frame in file.frames]

    @cached_property
    def file_of(self) -> list[FrameFile]:
        """The file of each frame."""
        return [file for file in self.files for _ in file.frames]

    @cached_property
    def bound(self) -> list[int]:
        """Positions of the frames that are not isolated atoms."""
        return [position for position, frame in enumerate(self.frames) if not is_isolated_atom(frame)]

    @cached_property
    def elements(self) -> tuple[str, ...]:
        """Symbols by ascending atomic number."""
        return sorted_symbols(symbol for frame in self.frames for symbol in set(frame.atoms.get_chemical_symbols()))

    @cached_property
    def formulas(self) -> list[str]:
        """Reduced formula of each frame."""
        return [reduced_formula(frame) for frame in self.frames]

    @cached_property
    def survey(self) -> Survey:
        """What one pass with one neighbour list found."""
        return survey_frames(self.frames, self.cutoff, self.elements, self.progress)

    @cached_property
    def steps(self) -> dict[tuple[str, str], list[Step]]:
        """(config_type, formula) -> steps between near frames of the same atoms."""
        return near_steps(self.frames, self.progress)

    @cached_property
    def stress_fits(self) -> dict[tuple[str, str], Fit]:
        """What the steps of each group say about its stress."""
        return fit_groups(self.steps, self.frames, stress_fit)

    @cached_property
    def force_fits(self) -> dict[tuple[str, str], Fit]:
        """What the steps of each group say about its forces."""
        return fit_groups(self.steps, self.frames, force_fit)

    @cached_property
    def atomic_energies(self) -> AtomicEnergies:
        """E0; Skip where no frame has an energy."""
        if not any(frame.has("energy") for frame in self.frames):
            raise Skip("no frame has an energy")
        return fit_atomic_energies(self.frames, self.elements)

    def place(self, position: int, *, atom: int | None = None, label: str = "", text: str = "") -> Place:
        """A spot in the data: a frame by its position among all, with the key the label was read from."""
        file = self.file_of[position]
        key = (file.report.keys.get(label) or "") if label else ""
        return Place(file_name(file), self.frames[position].index, atom, key, text)

    def places(self, positions: Iterable[int], *, label: str = "") -> tuple[Place, ...]:
        """Several of them."""
        return tuple(self.place(position, label=label) for position in positions)

    def by_group(self, positions: Iterable[int]) -> dict[str, list[int]]:
        """Positions by config_type."""
        groups: dict[str, list[int]] = defaultdict(list)
        for position in positions:
            groups[self.frames[position].config_type].append(position)
        return dict(groups)


def file_name(file: FrameFile) -> str:
    """What to call a file in a place."""
    return Path(file.report.path).name


def reduced_formula(frame: Frame) -> str:
    """Elements and their ratio, e.g. ``AuCu3``."""
    numbers, counts = np.unique(frame.atoms.numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return "".join(
        f"{symbol}{count if count > 1 else ''}"
        for symbol, count in sorted((chemical_symbols[number], count) for number, count in zip(numbers, counts))
    )


Function = Callable[[Context], Iterable[Finding]]

CHECKS: Registry[Check] = Registry()


def check(group: str, code: str, title: str) -> Callable[[Function], Function]:
    """Register a check under its code."""

    def register(function: Function) -> Function:
        CHECKS.add(Check(code, title, group, function))
        return function

    return register


def run_check(entry: Check, context: Context) -> CheckResult:
    """Run one check: the worst of its findings decides, none at all is a pass."""

    def worst(findings: Sequence[Finding]) -> str | None:
        return min((finding.status for finding in findings), key=STATUSES.index, default=None)

    run = registry.run_check(entry, context, worst)
    findings = tuple(sorted(run.found, key=lambda finding: STATUSES.index(finding.status)))
    return CheckResult(entry.code, entry.title, entry.group, run.status, run.note, run.seconds, findings)
