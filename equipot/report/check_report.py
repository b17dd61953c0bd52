"""The page of a physics check-up: verdicts, plots and thresholds on one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from equipot.checks.model import CheckReport
from equipot.checks.model.result import NOT_RUN
from equipot.report.check_plots import check_pictures, check_table, group_sentence, stability_table
from equipot.report.figures import save_figure
from equipot.report.files import write_text
from equipot.report.html import Headline, Page, Section, render
from equipot.report.summary import to_json
from equipot.version import __version__

#: Status, its word and its colour, in the order of the page's head.
_TILES = (
    ("pass", "passed", "pass"),
    ("warn", "warned", "warn"),
    ("fail", "failed", "fail"),
    (NOT_RUN, "NOT RUN", "fail"),
    ("skip", "did not apply", "skip"),
)


def write_check_report(report: CheckReport, folder: str | Path) -> list[Path]:
    """Write ``check.html``, ``check.json`` and ``plots/*.png`` into a folder, which is made if it is not there."""
    folder = Path(folder)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    pictures = check_pictures(report)
    written = [save_figure(picture.figure, folder / "plots" / f"{name}.png") for name, picture in pictures.items()]
    facts = report.facts
    cutoff = facts.get("cutoff")
    stability = report.curves.get("stability")
    sections = [
        Section("Verdicts", [group_sentence(report), check_table(report), pictures["check_margins"]]),
        Section("Short range", [pictures[name] for name in ("check_dimers",) if name in pictures]),
        Section("Crystals", [pictures[name] for name in ("check_volumes",) if name in pictures]),
        Section(
            "Simulations",
            [
                *(pictures[name] for name in ("check_nve",) if name in pictures),
                *([stability_table(stability)] if stability else []),
            ],
        ),
    ]
    counts = report.counts
    page = Page(
        title=f"Physics check of {report.subject}",
        subtitle=f"{report.form.capitalize()} form",
        headline=[
            Headline(word, str(counts[status]), status=color if counts[status] else "")
            for status, word, color in _TILES
            if status != NOT_RUN or counts[status]
        ],
        facts=[
            ("Elements", ", ".join(facts["elements"])),
            ("Cutoff", "unknown" if cutoff is None else f"{cutoff:g} Å"),
            ("Precision", facts["dtype"]),
            ("Architecture", facts.get("architecture", facts.get("calculator", ""))),
            ("Structures from", facts["structures_from"]),
            ("Structures", ", ".join(f"{name} ({number})" for name, number in facts["structures"].items())),
            ("Simulated", ", ".join(facts["simulated"]) or "nothing"),
        ],
        sections=[section for section in sections if section.blocks],
        footer=f"Written by equipot {__version__}. Derivatives of float32 models are checked on their float64 twin.",
    )
    written.append(write_text(folder / "check.json", to_json(report.to_dict())))
    written.append(write_text(folder / "check.html", render(page)))
    return written
