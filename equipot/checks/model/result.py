"""What a check found: figures beside their thresholds, a verdict, and all of them together as a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from equipot.checks.verdicts import Outcome, Verdicts, finite_or_none

GROUPS = {
    "P": "symmetry",
    "G": "derivatives",
    "C": "cutoff and smoothness",
    "X": "extensivity and batches",
    "N": "neighbour lists and input",
    "A": "calculator",
    "V": "behaviour in simulations",
    "L": "labels",
}


@dataclass(frozen=True)
class Measure:
    """One figure: its value, the largest it may be, its unit and where it was found.

    A limit of infinity reports without judging.
    """

    name: str
    value: float
    limit: float
    unit: str = ""
    where: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the value is within the limit; NaN never is."""
        return bool(self.value <= self.limit)

    @property
    def ratio(self) -> float:
        """Value over limit, for ranking: above 1 is bad; infinity for NaN."""
        if math.isnan(self.value):
            return math.inf
        if self.limit > 0.0:
            return 0.0 if math.isinf(self.limit) else self.value / self.limit
        return 0.0 if self.value <= 0.0 else math.inf

    def to_dict(self) -> dict[str, Any]:
        """The figure for JSON; what is not finite is None."""
        return {
            "name": self.name,
            "value": finite_or_none(self.value),
            "limit": finite_or_none(self.limit),
            "unit": self.unit,
            "where": self.where,
            "is_good": self.is_good,
        }


@dataclass(frozen=True)
class CheckResult(Outcome):
    """The outcome of one check: its figures, the worst of which decides."""

    measures: tuple[Measure, ...] = ()

    GROUPS: ClassVar[dict[str, str]] = GROUPS

    @property
    def worst(self) -> Measure | None:
        """The figure nearest to, or furthest beyond, its threshold."""
        return max(self.measures, key=lambda measure: measure.ratio, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The outcome for JSON."""
        return {**super().to_dict(), "measures": [measure.to_dict() for measure in self.measures]}


@dataclass
class CheckReport(Verdicts):
    """All outcomes of one model.

    Attributes:
        subject: what was checked, in words.
        form: ``short`` or ``full``.
        results: one a check, in the order they ran.
        curves: what the plots are drawn from: ``dimers``, ``volumes``, ``nve``, ``stability``.
        facts: elements, cutoff, dtype, structures, versions.
    """

    subject: str
    form: str
    results: list[CheckResult] = field(default_factory=list)
    curves: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    STATUSES: ClassVar[tuple[str, ...]] = ("fail", "warn", "pass", "skip")

    def failed(self) -> list[str]:
        """Codes of the checks that failed."""
        return [result.code for result in self.results if result.status == "fail"]

    def sentence(self) -> str:
        """The verdict in words."""
        counts = self.counts
        parts = [
            f"{counts['pass']} passed",
            f"{counts['warn']} warned",
            f"{counts['fail']} failed",
            f"{counts['skip']} skipped",
        ]
        return f"{self.subject}: {', '.join(part for part in parts if not part.startswith('0 ') or 'passed' in part)}"

    def to_dict(self, *, curves: bool = True) -> dict[str, Any]:
        """The report for JSON.

        Args:
            curves: with the points of the plots.
        """
        document = {
            "subject": self.subject,
            "form": self.form,
            "worst": self.worst,
            "counts": self.counts,
            "facts": self.facts,
            "checks": [result.to_dict() for result in self.results],
        }
        if curves:
            document["curves"] = _plain(self.curves)
        return document


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
