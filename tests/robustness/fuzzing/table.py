"""The outcomes of a fuzzing run as a table, for people, JSON and Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from equipot.report.tables import Column, Table
from tests.robustness.fuzzing.group import AS_WRITTEN, DEFECT, NOT_COMPARED, REFUSED, SAME
from tests.robustness.fuzzing.pool import Outcome

HEADINGS = (
    "kind of file",
    "files",
    "read, unchanged",
    "read as written",
    "read, not compared",
    "refused in words",
    "defects",
    "slowest, s",
    "most memory, MB",
)


def rows(outcomes: Sequence[Outcome], groups: Iterable[str]) -> list[tuple[Any, ...]]:
    """One row a group and their sum."""
    found = []
    for name in (*groups, None):
        chosen = [outcome for outcome in outcomes if name in (None, outcome.group)]
        if not chosen:
            continue
        counts = Counter(outcome.outcome for outcome in chosen)
        found.append(
            (
                name or "all",
                len(chosen),
                *(counts[key] for key in (SAME, AS_WRITTEN, NOT_COMPARED, REFUSED, DEFECT)),
                round(max(outcome.seconds for outcome in chosen), 2),
                round(max(outcome.megabytes for outcome in chosen)),
            )
        )
    return found


def table(outcomes: Sequence[Outcome], groups: Iterable[str]) -> Table:
    """For the terminal."""
    columns = (Column(HEADINGS[0], is_number=False), *(Column(heading) for heading in HEADINGS[1:]))
    return Table("Mutated files", columns, tuple(tuple(map(str, row)) for row in rows(outcomes, groups)))


def markdown(outcomes: Sequence[Outcome], groups: Iterable[str]) -> str:
    """For the documentation."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|" + "--:|" * (len(HEADINGS) - 1)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows(outcomes, groups)]
    return "\n".join(lines) + "\n"


def document(outcomes: Sequence[Outcome], groups: Iterable[str], seed: int) -> dict[str, Any]:
    """For programs: the table, and every defect in full."""
    return {
        "seed": seed,
        "table": [dict(zip(HEADINGS, row)) for row in rows(outcomes, groups)],
        "errors": Counter(outcome.kind for outcome in outcomes if outcome.outcome == REFUSED),
        "defects": [asdict(outcome) for outcome in outcomes if outcome.outcome == DEFECT],
    }
