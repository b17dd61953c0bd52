"""What a check found: figures beside their thresholds, a verdict, and all of them together as a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from equipot.checks.verdicts import Verdicts

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


class Skip(Exception):
    """A check does not apply here; the message says why."""


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

        def plain(number: float) -> float | None:
            return float(number) if math.isfinite(number) else None

        return {
            "name": self.name,
            "value": plain(self.value),
            "limit": plain(self.limit),
            "unit": self.unit,
            "where": self.where,
            "is_good": self.is_good,
        }


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        code: as in the documentation, e.g. ``P1``.
        title: what was checked, in words.
        status: ``pass``, ``warn``, ``fail`` or ``skip``.
        measures: the figures; the worst decides.
        note: why it was skipped, what went wrong, or what else to know.
        seconds: wall time.
    """

    code: str
    title: str
    status: str
    measures: tuple[Measure, ...] = ()
    note: str = ""
    seconds: float = 0.0

    @property
    def worst(self) -> Measure | None:
        """The figure nearest to, or furthest beyond, its threshold."""
        return max(self.measures, key=lambda measure: measure.ratio, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The outcome for JSON."""
        return {
            "code": self.code,
            "title": self.title,
            "group": GROUPS.get(self.code[0], ""),
            "status": self.status,
            "measures": [measure.to_dict() for measure in self.measures],
            "note": self.note,
            "seconds": round(self.seconds, 4),
        }


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
