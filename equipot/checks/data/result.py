"""What the data doctor found: findings that name file, frame, atom and key, and all of them as a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from equipot.checks.verdicts import Outcome, Verdicts, finite_or_none
from equipot.checks.verdicts import Skip as Skip
from equipot.data.frames import ReadReport

GROUPS = {
    "R": "reading and labels",
    "S": "stress",
    "F": "forces",
    "E": "energies",
    "G": "structures",
    "D": "repeated structures",
    "C": "coverage",
}


@dataclass(frozen=True)
class Place:
    """One spot in the data.

    Attributes:
        file: As it was asked for.
        frame: Number in its file, from 0.
        atom: Number in the frame, from 0, or None for all of it.
        key: Name of the label in the file, or empty.
        text: What is there, in words.
    """

    file: str
    frame: int
    atom: int | None = None
    key: str = ""
    text: str = ""

    def __str__(self) -> str:
        atom = "" if self.atom is None else f" atom {self.atom}"
        key = f" ({self.key})" if self.key else ""
        return f"{self.file} frame {self.frame}{atom}{key}" + (f": {self.text}" if self.text else "")

    def to_dict(self) -> dict[str, Any]:
        """The place for JSON."""
        return {"file": self.file, "frame": self.frame, "atom": self.atom, "key": self.key, "text": self.text}


@dataclass(frozen=True)
class Fix:
    """What can be put right without guessing.

    Attributes:
        kind: ``stress_factor``, ``forces_factor``, ``shear_order``, ``drop``, ``drop_leak`` or ``net_force``.
        positions: Frames it is done to, by their number among all frames checked.
        value: The factor, or where each shear component (yz, xz, xy) is to be taken from.
        reason: Why, in words.
    """

    kind: str
    positions: tuple[int, ...]
    value: Any = None
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        status: ``fail``: numbers are wrong, or training on them goes wrong. ``warn``: doubtful. ``note``: to know of.
        message: One sentence.
        figure, limit, unit: The number behind it and its threshold (None where there is none).
        places: Where.
        advice: What to do.
        fix: What ``--fix`` does about it.
    """

    status: str
    message: str
    figure: float | None = None
    limit: float | None = None
    unit: str = ""
    places: tuple[Place, ...] = ()
    advice: str = ""
    fix: Fix | None = None

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of the frames it is about, each in its own file."""
        return tuple(dict.fromkeys(place.frame for place in self.places))

    def to_dict(self) -> dict[str, Any]:
        """The finding for JSON; what is not finite is None."""
        return {
            "status": self.status,
            "message": self.message,
            "figure": finite_or_none(self.figure),
            "limit": finite_or_none(self.limit),
            "unit": self.unit,
            "advice": self.advice,
            "fix": None if self.fix is None else {"kind": self.fix.kind, "frames": len(self.fix.positions)},
            "places": [place.to_dict() for place in self.places],
        }


@dataclass(frozen=True)
class CheckResult(Outcome):
    """The outcome of one check: its findings (worst first), the worst of which decides."""

    findings: tuple[Finding, ...] = ()

    GROUPS: ClassVar[dict[str, str]] = GROUPS

    def to_dict(self) -> dict[str, Any]:
        """The outcome for JSON."""
        return {**super().to_dict(), "findings": [finding.to_dict() for finding in self.findings]}


@dataclass
class DataReport(Verdicts):
    """Everything found in some files.

    Attributes:
        files: What reading each file said.
        against: The same for the files of ``--against``.
        results: One a check.
        summary: Facts: frames, atoms, elements, groups, atomic energies, smallest distances.
        curves: What the plots are drawn from.
    """

    files: list[ReadReport]
    against: list[ReadReport] = field(default_factory=list)
    results: list[CheckResult] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)

    def flagged(self) -> list[str]:
        """Codes of the checks that failed or warned."""
        return [result.code for result in self.results if result.status in ("fail", "warn")]

    def fixes(self) -> list[Fix]:
        """Everything that can be put right, in the order it was found."""
        return [finding.fix for result in self.results for finding in result.findings if finding.fix is not None]

    def sentence(self) -> str:
        """The verdict in words."""
        counts = self.counts
        files = f"{len(self.files)} files" if len(self.files) > 1 else self.files[0].path
        return (
            f"{files}: {counts['fail']} of {sum(counts.values())} checks failed, {counts['warn']} warned, "
            f"{counts['pass'] + counts['note']} passed, {counts['skip']} did not apply"
        )

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "files": [read.to_dict() for read in self.files],
            "against": [read.to_dict() for read in self.against],
            "summary": self.summary,
            "worst": self.worst,
            "counts": self.counts,
            "checks": [result.to_dict() for result in self.results],
        }

    def lines(self, *, places: int = 6) -> list[str]:
        """Printable lines: files and labels, facts, one line a check, and under it what was found.

        Args:
            places: Most spots named a finding (JSON has all).
        """
        lines: list[str] = []
        for read in self.files:
            lines += _file_lines(read)
        lines += [f"  {name}: {_shown(value)}" for name, value in self.summary.items()]
        lines.append("")
        for result in self.results:
            lines += result_lines(result, places=places)
        return [*lines, "", f"{self.sentence()}."]


def result_lines(result: CheckResult, *, places: int = 6) -> list[str]:
    """One check on one line, with each finding, its places and the advice under it."""
    lines = [f"{result.status:<5} {result.code:<17} {result.title}" + (f": {result.note}" if result.note else "")]
    indent = " " * 24
    for finding in result.findings:
        limit = "" if finding.limit is None else f" (limit {finding.limit:.3g} {finding.unit})".replace(" )", ")")
        lines.append(f"{indent}{finding.message}{limit}")
        lines += [f"{indent}  {line}" for line in place_lines(finding.places, places)]
        if finding.advice:
            lines.append(f"{indent}  -> {finding.advice}")
    return lines


def place_lines(spots: Sequence[Place], most: int) -> list[str]:
    """The first few places with what is there; where they say nothing of themselves, frame numbers on one line."""
    if not spots:
        return []
    if any(spot.text or spot.atom is not None for spot in spots):
        rest = [f"... and {len(spots) - most} more"] if len(spots) > most else []
        return [str(spot) for spot in spots[:most]] + rest
    by_file: dict[str, list[str]] = {}
    for spot in spots:
        by_file.setdefault(spot.file, []).append(str(spot.frame))
    return [
        f"{file} frames {', '.join(frames[: 2 * most])}" + (f", ... ({len(frames)})" if len(frames) > 2 * most else "")
        for file, frames in by_file.items()
    ]


def _file_lines(read: ReadReport) -> list[str]:
    kept = read.num_frames - len(read.skipped)
    usable = f", {kept} usable" if read.skipped else ""
    return [f"{read.path}: {read.num_frames} frames{usable}", *read.label_lines()]


def _shown(value: Any, most: int = 20) -> str:
    if isinstance(value, dict):
        shown = [f"{key} {_shown(number)}" for key, number in list(value.items())[:most]]
        return (", ".join(shown) + (f", ... ({len(value)} in all)" if len(value) > most else "")) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
