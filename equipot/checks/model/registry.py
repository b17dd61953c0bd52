"""The list of checks on models, and what they work on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms

from equipot.checks import registry
from equipot.checks.model.result import CheckResult, Measure
from equipot.checks.model.structures import at_minimum
from equipot.checks.model.subject import CalculatorSubject, Evaluation, Subject
from equipot.checks.model.tolerances import INVARIANCE, Tolerance
from equipot.checks.registry import Registry
from equipot.checks.verdicts import Skip
from equipot.data.frames import Frame
from equipot.system.signals import StopRequest


@dataclass(frozen=True)
class Settings:
    """What the user can choose of the checks that simulate.

    Attributes:
        temperatures: K, of the stability runs.
        pressures_gpa: of the stability runs; the cell is compressed to it before.
        md_steps: of each stability run; None: 200 in the short form, 2000 in the full one.
        nve_ps: length of the drift run (ps); None: 0.4 and 8.
        seed: of everything random.
    """

    temperatures: tuple[float, ...] = (300.0, 1000.0)
    pressures_gpa: tuple[float, ...] = (0.0, 20.0)
    md_steps: int | None = None
    nve_ps: float | None = None
    seed: int = 0


@dataclass
class Context:
    """What a check works on.

    Attributes:
        subject: as it will be used.
        structures: name -> structure, for the checks of symmetry and derivatives.
        starts: name -> structure near equilibrium, where simulations begin.
        frames: the user's labelled frames.
        is_short: the form that ends a training run.
        curves: filled by checks, drawn by the report.
    """

    subject: Subject
    structures: dict[str, Atoms]
    starts: dict[str, Atoms]
    frames: list[Frame]
    is_short: bool
    settings: Settings
    curves: dict[str, Any] = field(default_factory=dict)
    stop: StopRequest | None = None

    @cached_property
    def exact(self) -> Subject:
        """The float64 twin, for derivatives by finite differences."""
        return self.subject.twin()

    @property
    def dtype(self) -> str:
        """Whose thresholds apply."""
        return self.subject.dtype

    @property
    def tolerance(self) -> Tolerance:
        """Of invariances."""
        return INVARIANCE[self.dtype]

    @property
    def potential(self):
        """The potential; Skip where the subject is a foreign calculator."""
        if isinstance(self.subject, CalculatorSubject):
            raise Skip("needs a potential of this package; this is another calculator")
        return self.subject.potential

    @property
    def cutoff(self) -> float:
        """Angstrom; Skip where it is not known."""
        if self.subject.cutoff is None:
            raise Skip("the cutoff of this calculator is not known; give cutoff")
        return self.subject.cutoff

    @cached_property
    def baseline(self) -> dict[str, Evaluation]:
        """The structures evaluated as they are."""
        return {name: self.subject.evaluate(atoms) for name, atoms in self.structures.items()}

    @cached_property
    def crystals(self) -> dict[str, Atoms]:
        """The periodic starts at the volume of lowest energy."""
        calculator = self.exact.calculator()
        found = {name: at_minimum(atoms, calculator) for name, atoms in self.starts.items() if atoms.pbc.all()}
        return {name: atoms for name, atoms in found.items() if atoms is not None}

    @cached_property
    def simulated(self) -> dict[str, Atoms]:
        """What dynamics start from: crystals at their minimum, other structures as they are."""
        others = {name: atoms for name, atoms in self.starts.items() if not atoms.pbc.all()}
        found = {**self.crystals, **others}
        if not found:
            raise Skip(
                "no structure to simulate: no crystal of these elements has an energy minimum near its known "
                "lattice constant; give DATA with one"
            )
        return found

    def rng(self) -> np.random.Generator:
        """A generator of its own for each check, so that one check does not change another."""
        return np.random.default_rng(self.settings.seed)


Function = Callable[[Context], Iterable[Measure]]


@dataclass(frozen=True)
class Check(registry.Check):
    """One check; its ``severity`` is also what a figure beyond its limit means.

    Attributes:
        in_short: whether the short form has it.
    """

    in_short: bool = True


CHECKS: Registry[Check] = Registry()


def check(code: str, title: str, *, severity: str = "fail", short: bool = True) -> Callable[[Function], Function]:
    """Register a check under its code."""

    def register(function: Function) -> Function:
        CHECKS.add(Check(code, title, code[0], function, severity, short))
        return function

    return register


def run_check(entry: Check, context: Context) -> CheckResult:
    """Run one check. Whatever it raises is its outcome: a model that cannot be evaluated has failed."""

    def worst(measures: Sequence[Measure]) -> str | None:
        return None if all(measure.is_good for measure in measures) else entry.severity

    run = registry.run_check(entry, context, worst)
    status, note = run.status, run.note
    if status == "pass" and not run.found:
        status, note = "skip", "nothing to compare"
    return CheckResult(entry.code, entry.title, entry.group, status, note, run.seconds, tuple(run.found))
