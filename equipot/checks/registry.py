"""A list of checks: each a function with a code and a title, run with a clock and a safety net."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from equipot.checks.verdicts import STATUSES, Skip

logger = logging.getLogger("equipot.checks")


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code, title: For people.
        group: Letter of the group it belongs to.
        function: Takes the context and yields what it found; raises Skip where it does not apply.
        severity: ``fail`` or ``warn``: what it means if the function raises anything else.
    """

    code: str
    title: str
    group: str
    function: Callable[[Any], Iterable[Any]]
    severity: str = "warn"


CheckT = TypeVar("CheckT", bound=Check)


class Registry(dict[str, CheckT], Generic[CheckT]):
    """Code -> check, in the order they run."""

    def add(self, entry: CheckT) -> None:
        """Add a check. ValueError where another one has its code."""
        if entry.code in self and self[entry.code].function.__qualname__ != entry.function.__qualname__:
            raise ValueError(f"there are two checks {entry.code}")
        self[entry.code] = entry


@dataclass(frozen=True)
class Run:
    """What running one check gave: what the function yielded, the status, why, and the wall time (s)."""

    found: list[Any]
    status: str
    note: str
    seconds: float


def run_check(entry: Check, context: Any, judge: Callable[[Sequence[Any]], str | None]) -> Run:
    """Run one check. Whatever it raises is part of its outcome: one check that cannot cope hides no other.

    Args:
        entry: The check.
        context: What its function works on.
        judge: The worst status among the things found, None where none of them is worse than a pass.
    """
    begin = time.perf_counter()
    found: list[Any] = []
    status, note = "pass", ""
    try:
        for item in entry.function(context):
            found.append(item)
    except Skip as reason:
        status, note = "skip", str(reason)
    except Exception as error:
        logger.debug("check %s raised", entry.code, exc_info=True)
        said = str(error).splitlines()[0] if str(error) else ""
        status, note = entry.severity, f"raised {type(error).__name__}: {said}"
    judged = judge(found)
    if judged is not None:
        status = min(status, judged, key=STATUSES.index)
    return Run(found, status, note, time.perf_counter() - begin)
