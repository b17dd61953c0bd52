"""What the outcomes of all checks have in common: a code and a status each, counted and found by code as a report."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

#: From worst to best. ``note`` is a fact to know of, and no fault; ``skip``: the check does not apply here.
STATUSES = ("fail", "warn", "note", "pass", "skip")


class Skip(Exception):
    """A check does not apply here; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check; subclasses add what was found.

    Attributes:
        code: As in the documentation, e.g. ``P1`` or ``net-force``.
        title: What was checked, in words.
        group: Letter of the group the check belongs to.
        status: One of :data:`STATUSES`.
        note: Why it was skipped, what went wrong, or what else to know.
        seconds: Wall time.
    """

    code: str
    title: str
    group: str
    status: str
    note: str = ""
    seconds: float = 0.0

    #: Letter -> name of the group, in words.
    GROUPS: ClassVar[dict[str, str]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The outcome for JSON."""
        return {
            "code": self.code,
            "title": self.title,
            "group": self.GROUPS.get(self.group, ""),
            "status": self.status,
            "note": self.note,
            "seconds": round(self.seconds, 4),
        }


class Verdicts:
    """Base of a report; subclasses have ``results``, each an :class:`Outcome`."""

    #: Statuses that are counted, from worst to best; the first two are the ones to act on.
    STATUSES: ClassVar[tuple[str, ...]] = STATUSES
    results: list[Any]

    @property
    def worst(self) -> str:
        """``fail``, ``warn`` or ``pass``."""
        found = {result.status for result in self.results}
        return next((status for status in self.STATUSES[:2] if status in found), "pass")

    @property
    def counts(self) -> dict[str, int]:
        """How many checks have each status."""
        counted = Counter(result.status for result in self.results)
        return {status: counted.get(status, 0) for status in self.STATUSES}

    def get(self, code: str) -> Any:
        """The outcome with this code; KeyError where it did not run."""
        for result in self.results:
            if result.code == code:
                return result
        raise KeyError(code)


def finite_or_none(number: float | None) -> float | None:
    """The number for JSON, which knows neither NaN nor infinity."""
    return None if number is None or not math.isfinite(number) else float(number)
