"""A look at data as people read it: a table of verdicts on a terminal, and one self-contained page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from equipot.checks.data import CheckResult, DataReport
from equipot.checks.data.result import GROUPS, place_lines
from equipot.report.data_plots import data_pictures
from equipot.report.files import write_text
from equipot.report.html import Headline, Notes, Page, Section, Verbatim, render
from equipot.report.tables import ABSENT, Column, Table
from equipot.version import __version__

_STYLES = {"fail": "bold red", "warn": "bold dark_orange", "note": "cyan", "pass": "green", "skip": "dim"}
_MOST_PLACES, _MOST_PLACES_PAGE = 5, 40


def print_data_report(report: DataReport, file: TextIO | None = None) -> None:
    """Print a report: a table drawn by rich where ``file`` (default: standard output) is a terminal, else lines."""
    file = sys.stdout if file is None else file
    if not (hasattr(file, "isatty") and file.isatty()):
        print("\n".join(report.lines()), file=file, flush=True)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=file, highlight=False)
    for line in report.lines()[: report.lines().index("")]:
        console.print(Text(line, style="" if line.startswith(" ") else "bold"), soft_wrap=False)
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for name, options in (
        ("", {"no_wrap": True}),
        ("check", {"no_wrap": True}),
        ("what was found", {"overflow": "fold"}),
    ):
        table.add_column(name, **options)
    for result in sorted(report.results, key=lambda one: list(_STYLES).index(one.status)):
        table.add_row(Text(result.status, style=_STYLES[result.status]), Text(result.code), _cell(result, Text))
    console.print(table)
    console.print(Text(f"{report.sentence()}.", style="bold"))


def _cell(result: CheckResult, text_type):
    """Everything a check found, as one cell of the terminal's table."""
    dim = "dim" if result.status in ("pass", "skip") else ""
    cell = text_type(result.title if not result.note else f"{result.title}: {result.note}", style=dim)
    for finding in result.findings:
        cell.append(f"\n{finding.message}", style="" if finding.status in ("fail", "warn") else "dim")
        if finding.status == "note" and result.status in ("fail", "warn"):
            continue
        for line in place_lines(finding.places, _MOST_PLACES):
            cell.append(f"\n  {line}", style="dim")
        if finding.advice and finding.status != "note":
            cell.append(f"\n  → {finding.advice}", style="italic")
    return cell


def verdict_table(report: DataReport) -> Table:
    """Every check with its verdict and what it found."""
    rows, strong = [], set()
    for result in report.results:
        said = [finding for finding in result.findings if finding.message] or [None]
        for number, finding in enumerate(said):
            if finding is not None and finding.status in ("fail", "warn"):
                strong.add(len(rows))
            text = (result.note or ABSENT) if finding is None else finding.message
            rows.append(
                (
                    result.status if number == 0 else "",
                    result.code if number == 0 else "",
                    result.title if number == 0 else "",
                    text,
                )
            )
    columns = (
        Column("", is_number=False),
        Column("code", is_number=False),
        Column("check", is_number=False),
        Column("found", is_number=False),
    )
    return Table("Verdicts", columns, tuple(rows), frozenset(strong))


def label_table(report: DataReport) -> Table:
    """Where the labels of each file are, and how many frames have them."""
    rows = []
    for read in [*report.files, *report.against]:
        cells = []
        for label in ("energy", "forces", "stress"):
            present, total = read.coverage.get(label, (0, 0))
            key = read.keys.get(label)
            cells += [ABSENT if key is None else key, f"{present}/{total}"]
        rows.append((Path(read.path).name, str(read.num_frames), *cells))
    columns = (
        Column("file", is_number=False),
        Column("frames"),
        *(
            Column(title, unit, is_number=number)
            for label in ("energy", "forces", "stress")
            for title, unit, number in ((label, "key", False), (label, "frames", True))
        ),
    )
    return Table("Files and labels", columns, tuple(rows))


def write_data_report(report: DataReport, path: str | Path, *, cutoff: float) -> Path:
    """Write one self-contained HTML page: verdicts, findings with places and advice, plots, files and labels."""
    pictures = data_pictures(report, cutoff)
    findings: list = []
    for result in sorted(report.results, key=lambda one: list(_STYLES).index(one.status)):
        for finding in result.findings:
            if finding.status not in ("fail", "warn"):
                continue
            findings.append(
                Notes(
                    [
                        (
                            finding.status,
                            f"{result.code}: {finding.message}."
                            + (f" What to do: {finding.advice}." if finding.advice else ""),
                        )
                    ]
                )
            )
            if finding.places:
                findings.append(
                    Verbatim(
                        f"Where ({len(finding.places)})", "\n".join(place_lines(finding.places, _MOST_PLACES_PAGE))
                    )
                )
    summary = report.summary
    counts = report.counts
    names = [Path(read.path).name for read in report.files]
    page = Page(
        title=f"Data check of {', '.join(names[:3])}" + (", ..." if len(names) > 3 else ""),
        subtitle=f"{report.sentence()}.",
        headline=[
            Headline("failed", str(counts["fail"]), status="fail" if counts["fail"] else ""),
            Headline("warned", str(counts["warn"]), status="warn" if counts["warn"] else ""),
            Headline("passed", str(counts["pass"] + counts["note"]), status="pass"),
            Headline("frames", str(summary.get("frames", 0))),
        ],
        facts=[
            ("Elements", str(summary.get("elements", ""))),
            ("Atoms a frame", str(summary.get("atoms a frame", ""))),
            (
                "Config types",
                ", ".join(f"{name} ({number})" for name, number in list(summary.get("config types", {}).items())[:30]),
            ),
            ("Cutoff", f"{cutoff:g} Å"),
            ("Checks", ", ".join(GROUPS.values())),
        ],
        sections=[
            section
            for section in (
                Section("What to look at", findings),
                Section("Verdicts", [verdict_table(report)]),
                Section("Energies", [pictures[n] for n in ("data_volumes",) if n in pictures]),
                Section("Forces", [pictures[n] for n in ("data_forces",) if n in pictures]),
                Section("Coverage", [pictures[n] for n in ("data_neighbours", "data_compositions") if n in pictures]),
                Section("Files", [label_table(report)]),
            )
            if section.blocks
        ],
        footer=f"Written by equipot {__version__}. Nothing in the files was changed.",
    )
    return write_text(path, render(page))
