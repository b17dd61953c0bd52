"""Tables, files and the page of measured properties: ``properties.json``, plots, one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from equipot.properties import PROPERTIES, Reference, StructureReport, compare_values
from equipot.report.figures import save_figure
from equipot.report.files import write_text
from equipot.report.html import Headline, Page, Section, Verbatim, render
from equipot.report.property_figures import property_pictures
from equipot.report.summary import to_json
from equipot.report.tables import Column, Table, format_number
from equipot.version import __version__

FORMAT = 1
_UNITS = {"A": "Å", "A^3/atom": "Å³/atom", "J/m^2": "J/m²", "1e-6/K": "10⁻⁶/K"}
#: Values the console leaves out: they stand in the report and in the JSON file.
_DETAILS = ("_voigt", "_reuss", "_unrelaxed", "residual_stress", "smallest_eigenvalue", "mean_temperature")


def _digits(name: str) -> int:
    return 5 if name.startswith(("lattice", "volume", "energy", "c_over_a")) else 4


def value_table(report: StructureReport, *, brief: bool = False) -> Table:
    """Make the table of everything measured of one structure; ``brief``: without details."""
    rows = []
    for name, result in report.results.items():
        first, remarks = PROPERTIES[name].title, result.curves.get("remarks", {})
        for value, entry in result.values.items():
            is_detail = any(word in value for word in _DETAILS) or (
                value.startswith("frequency_") and value not in ("frequency_max", "frequency_min")
            )
            if brief and is_detail:
                continue
            rows.append(
                (
                    first,
                    value,
                    format_number(entry.value, _digits(value)),
                    _UNITS.get(entry.unit, entry.unit),
                    "; ".join(filter(None, (result.status if first else "", remarks.get(value, "")))),
                )
            )
            first = ""
        if first:
            rows.append((first, "", "–", "", result.status))
    columns = (
        Column("property", is_number=False),
        Column("name", is_number=False),
        Column("value"),
        Column("unit", is_number=False),
        Column("", is_number=False),
    )
    group = f", {report.space_group}" if report.space_group else ""
    return Table(f"{report.label}{group}", columns, tuple(rows))


def comparison_table(report: StructureReport, references: Sequence[Reference]) -> Table | None:
    """Make the table of values beside the references with errors in percent; None where no reference speaks."""
    rows = compare_values(report, references)
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row.references))
    columns = [Column("name", is_number=False), Column("potential"), Column("unit", is_number=False)]
    for name in names:
        columns += [Column(name), Column("error", "%")]
    lines = []
    for row in rows:
        cells = [row.name, format_number(row.value, _digits(row.name)), _UNITS.get(row.unit, row.unit)]
        for name in names:
            error = row.error_percent(name)
            cells += [
                format_number(row.references.get(name), _digits(row.name)),
                "–" if error is None else f"{error:+.1f}",
            ]
        lines.append(tuple(cells))
    return Table(f"{report.label} against {', '.join(names)}", tuple(columns), tuple(lines))


def notes_of(report: StructureReport) -> list[str]:
    """Return the sentences about results that are doubtful, failed or left out."""
    return [
        f"{PROPERTIES[name].title}: {note}"
        for name, result in report.results.items()
        if result.status != "done"
        for note in result.notes
    ]


def write_json_report(
    path: str | Path, reports: Sequence[StructureReport], references: Sequence[Reference], facts: Mapping[str, Any]
) -> Path:
    """Write ``properties.json``: values with units, curves, notes and comparisons of every structure."""
    structures = [
        report.to_dict() | {"comparison": [row.to_dict() for row in compare_values(report, references)]}
        for report in reports
    ]
    return write_text(path, to_json({"format": FORMAT, "equipot": __version__, **facts, "structures": structures}))


def write_property_report(
    folder: str | Path,
    reports: Sequence[StructureReport],
    references: Sequence[Reference],
    facts: Mapping[str, Any],
    folders: Mapping[str, Path],
    settings_yaml: str,
) -> list[Path]:
    """Write ``properties.json``, ``properties.html`` and, in each structure's folder, ``plots/*.png``.

    Args:
        folder: of the two files.
        reports: one a structure.
        references: all of them; each report takes those that are for it.
        facts: about the run, for the JSON file (``model``, ``model_fingerprint``, ...).
        folders: label of a structure -> its folder.
        settings_yaml: the settings, shown folded away.

    Returns:
        The files, JSON and HTML last.
    """
    folder, written, sections = Path(folder), [], []
    if len(reports) > 1:
        sections.append(Section("Overview", [overview_table(reports)]))
    for report in reports:
        mine = [reference for reference in references if reference.is_for(report.label)]
        blocks: list[Any] = []
        table = comparison_table(report, mine)
        if table is not None:
            blocks.append(table)
        blocks += [note for note in notes_of(report)]
        plots = folders[report.label] / "plots"
        for result in report.results.values():
            for stem, picture in property_pictures(result, mine).items():
                plots.mkdir(parents=True, exist_ok=True)
                written.append(save_figure(picture.figure, plots / f"{stem}.png"))
                blocks.append(picture)
        blocks.append(value_table(report))
        remarks = [
            f"{PROPERTIES[name].title}: {note}"
            for name, result in report.results.items()
            if result.status == "done"
            for note in result.notes
        ]
        if remarks:
            blocks.append(Verbatim("How it was measured", "\n".join(remarks)))
        sections.append(Section(report.label, blocks))
    citations = [f"{reference.name}: {text}" for reference in references for text in reference.citations]
    sections.append(Section("Sources and settings", [*dict.fromkeys(citations), Verbatim("Settings", settings_yaml)]))
    counts = {
        status: sum(result.status == status for report in reports for result in report.results.values())
        for status in ("done", "doubtful", "failed", "skipped")
    }
    page = Page(
        title=f"Properties with {facts['model']}",
        subtitle=", ".join(report.label for report in reports),
        headline=[Headline(status, str(number)) for status, number in counts.items() if number or status == "done"],
        facts=[
            (str(name).replace("_", " ").capitalize(), str(value))
            for name, value in facts.items()
            if isinstance(value, str | int | float)
        ],
        sections=sections,
        footer=f"Written by equipot {__version__}.",
    )
    written.append(write_json_report(folder / "properties.json", reports, references, facts))
    written.append(write_text(folder / "properties.html", render(page)))
    return written


#: Values of the overview of several structures.
_OVERVIEW = (
    "lattice_constant",
    "lattice_constant_a",
    "c_over_a",
    "energy",
    "bulk_modulus",
    "C11",
    "C12",
    "C44",
    "frequency_max",
    "frequency_min",
    "vacancy_formation_energy",
)


def overview_table(reports: Sequence[StructureReport]) -> Table:
    """Make the table with one line a structure."""
    from equipot.properties.reference import unit_of

    names = [name for name in _OVERVIEW if any(name in report.values for report in reports)]
    columns = (
        Column("structure", is_number=False),
        Column("space group", is_number=False),
        *(Column(name.replace("_", " "), _UNITS.get(unit_of(name) or "", unit_of(name) or "")) for name in names),
        Column("notes"),
    )
    rows = tuple(
        (
            report.label,
            report.space_group,
            *(format_number(report.values.get(name), _digits(name)) for name in names),
            str(len(notes_of(report)) or ""),
        )
        for report in reports
    )
    return Table("All structures", columns, rows)
