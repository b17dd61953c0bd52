"""What a finished training run shows: its plots as files, and ``report.html`` with everything on one page."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from equipot.properties import PropertyComparison
from equipot.report.figures import save_figure
from equipot.report.files import write_text
from equipot.report.html import Page, Picture, Section, Verbatim, render
from equipot.report.plots import QUANTITIES, Curve, error_by_config_type, learning_curve, parity, train_validation
from equipot.report.points import Points
from equipot.report.property_plots import elastic_plot, equation_of_state_plot, property_table
from equipot.report.tables import Metrics, Table, error_table, format_number
from equipot.version import __version__


@dataclass(frozen=True)
class RunRecord:
    """Everything the report of a run shows.

    Attributes:
        name: of the run.
        model: one line: architecture, preset, dtype.
        summary: as in ``summary.json``.
        metrics: split -> group -> errors.
        points: split -> points of the parity plots.
        rows: the rows of ``metrics.jsonl``.
        tables: on the data: counts, label coverage, atomic energies.
        comparisons: crystal properties.
        config: the resolved configuration as YAML.
        notes: sentences on the data a reader should see (warnings, origin of the atomic energies).
        sections: more of them, shown first (of a fine-tuning: before and after).
    """

    name: str
    model: str
    summary: Mapping[str, Any]
    metrics: Mapping[str, Metrics]
    points: Mapping[str, Points]
    rows: Sequence[Mapping[str, Any]]
    tables: Sequence[Table] = ()
    comparisons: Sequence[PropertyComparison] = ()
    config: str = ""
    notes: Sequence[str] = field(default_factory=tuple)
    sections: Sequence[Section] = ()


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``; a line cut off by a crash is left out."""
    rows = []
    path = Path(path)
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def library_versions() -> dict[str, str]:
    """Versions of equipot, Python and the libraries numbers depend on."""
    versions = {"equipot": __version__, "Python": platform.python_version()}
    for name in ("torch", "e3nn", "ase", "matscipy", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def learning_curve_of(rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Figure:
    """Draw the learning curve from the rows of ``metrics.jsonl``."""
    epochs = [row["epoch"] for row in rows]
    panels: dict[str, list[Curve]] = {}
    for label, key in (("loss", "loss"), ("forces MAE (meV/Å)", "forces_mae_mev_per_angstrom"),
                       ("energy MAE (meV/atom)", "energy_mae_mev_per_atom"), ("stress MAE (GPa)", "stress_mae_gpa")):
        train = [(row.get("train") or {}).get(key) for row in rows]
        validation = [(row.get("validation") or {}).get(key) for row in rows]
        if any(value is not None for value in (*train, *validation)):
            panels[label] = train_validation("", epochs, train, validation)
    return learning_curve(panels, best_epoch=best_epoch)


def make_figures(record: RunRecord) -> dict[str, Picture]:
    """Draw all plots of a run: name -> figure and caption. Labels that are nowhere get no plot."""
    pictures = {"learning_curve": Picture(
        learning_curve_of(record.rows, record.summary.get("best_epoch")),
        "Loss and errors over the epochs. Training: running mean over the steps of the epoch, with the weights of each "
        "step; validation: with the averaged weights. The dotted line is the epoch whose weights are in the model.")}
    for name, quantity in QUANTITIES.items():
        points = {split: pairs[name] for split, pairs in record.points.items() if pairs[name][0].size}
        if points:
            pictures[f"parity_{name}"] = Picture(
                parity(quantity, points, record.metrics),
                f"Predicted against reference {quantity.axis} ({quantity.unit}) with the distribution of the errors.")
    if any(group.get(quantity.mae) is not None for metrics in record.metrics.values() for group in metrics.values()
           for quantity in QUANTITIES.values()):
        pictures["error_by_config_type"] = Picture(
            error_by_config_type(record.metrics), "Mean absolute errors of each config_type.")
    if any(comparison.equation_of_state is not None for comparison in record.comparisons):
        pictures["equation_of_state"] = Picture(
            equation_of_state_plot(record.comparisons),
            "Energy against volume; points are computed, lines the fitted Birch–Murnaghan equations of state.")
    if any(row.value is not None and row.unit == "GPa" for comparison in record.comparisons
           for row in comparison.rows):
        pictures["elastic_constants"] = Picture(
            elastic_plot(record.comparisons), "Bulk modulus B and elastic constants; above the bars the deviation from "
                                              "the reference.")
    return pictures


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    summary = record.summary
    data = ", ".join(f"{metrics['all']['num_configurations']} {split}" for split, metrics in record.metrics.items())
    versions = ", ".join(f"{name} {number}" for name, number in library_versions().items())
    best = summary.get("best_epoch")
    epochs = f"{summary.get('epochs')}" + (f", best {best}" if best is not None else "")
    return [("Model", record.model), ("Elements", ", ".join(summary["elements"])),
            ("Cutoff", f"{summary['cutoff']:g} Å"), ("Parameters", f"{summary['num_parameters']:,}"),
            ("Frames", data), ("Epochs", epochs),
            ("Training time", _duration(summary.get("train_seconds"))), ("Versions", versions)]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    return f"{minutes} min ({seconds:.0f} s)" if not hours else f"{hours} h {minutes} min ({seconds:.0f} s)"


def _headline(record: RunRecord) -> list[tuple[str, str, str]]:
    split = next((name for name in ("test", "validation", "train") if name in record.metrics), None)
    if split is None:
        return []
    group = record.metrics[split]["all"]
    return [(f"{split} {quantity.name} MAE", format_number(group.get(quantity.mae)), quantity.metric_unit)
            for quantity in QUANTITIES.values() if group.get(quantity.mae) is not None]


def render_report(record: RunRecord, pictures: Mapping[str, Picture]) -> str:
    """Write the page of a run as HTML.

    Args:
        record: the run.
        pictures: from :func:`make_figures`.
    """
    def shown(*names: str) -> list[Picture]:
        return [pictures[name] for name in names if name in pictures]

    sections = [
        *record.sections,
        Section("Errors", [error_table(record.metrics, title="Best epoch, averaged weights"),
                           *shown("error_by_config_type")]),
        Section("Predicted against reference", shown("parity_energy", "parity_forces", "parity_stress")),
        Section("Training", shown("learning_curve")),
    ]
    if record.comparisons:
        sections.append(Section("Crystal properties", [property_table(record.comparisons),
                                                       *shown("equation_of_state", "elastic_constants")]))
    sections.append(Section("Data", [*record.tables, *record.notes]))
    sections.append(Section("Configuration", [Verbatim("Resolved configuration: every default and every number taken "
                                                       "from the data", record.config)]))
    return render(Page(
        title=record.name, subtitle="Report of an equipot training run", facts=_facts(record),
        headline=_headline(record), sections=[section for section in sections if section.blocks],
        footer=f"Written by equipot {__version__}. Errors of forces and stress are per component; stress is positive "
               "under tension."))


def write_report(record: RunRecord, path: str | Path, plots: str | Path) -> list[Path]:
    """Write every plot as PNG and the page.

    Args:
        record: the run.
        path: of ``report.html``.
        plots: folder of the plots; made if it is not there.

    Returns:
        The files written, the page last.
    """
    pictures = make_figures(record)
    plots = Path(plots)
    plots.mkdir(parents=True, exist_ok=True)
    written = [save_figure(picture.figure, plots / f"{name}.png") for name, picture in pictures.items()]
    return [*written, write_text(path, render_report(record, pictures))]
