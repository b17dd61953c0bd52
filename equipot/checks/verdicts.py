"""What the reports of all checks have in common: outcomes with a code and a status, counted and found by code."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar


class Verdicts:
    """Base of a report; subclasses have ``results``, objects with ``code`` and ``status``."""

    #: From worst to best; the first two are the ones to act on.
    STATUSES: ClassVar[tuple[str, ...]] = ("fail", "warn", "pass", "skip")
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
