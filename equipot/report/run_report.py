"""What a run or a model shows: its plots as files, and ``report.html`` with everything on one page."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from equipot.checks.model import CheckReport
from equipot.properties import PropertyComparison
from equipot.report.check_plots import check_pictures, check_table, group_sentence, outcome_text, stability_table
from equipot.report.data_facts import coverage_facts, energy_map, group_table
from equipot.report.figures import save_figure
from equipot.report.files import write_text
from equipot.report.html import Facts, Folded, Headline, Notes, Page, Picture, Section, Verbatim, render
from equipot.report.model_card import card_facts, known_limits
from equipot.report.outliers import Outlier
from equipot.report.plots import (
    QUANTITIES,
    Curve,
    error_by_config_type,
    learning_curve,
    loss_shares,
    parity,
    train_validation,
)
from equipot.report.points import Points
from equipot.report.property_plots import elastic_plot, equation_of_state_plot, property_table
from equipot.report.tables import Metrics, Table, error_table, format_number
from equipot.report.viewer import MOST_STILLS, Viewer, outlier_table, still
from equipot.version import __version__

if TYPE_CHECKING:
    from equipot.data.frames import Frame


@dataclass(frozen=True)
class RunRecord:
    """Everything the report of a run or a model shows; what is empty gets no place on the page.

    Attributes:
        name: of the run or model.
        model: one line: architecture, preset, dtype.
        summary: as in ``summary.json``.
        metrics: split -> group -> errors.
        points: split -> points of the parity plots.
        rows: the rows of ``metrics.jsonl``.
        tables: on the data: counts, label coverage, atomic energies.
        comparisons: crystal properties.
        config: the resolved configuration as YAML.
        notes: sentences on the data a reader should see (warnings, origin of the atomic energies).
        subtitle: what the page is a report of.
        frames: split -> labelled frames.
        atomic_energies: element -> eV.
        outliers: frames with the largest errors.
        check: the physics check.
        findings: of the data doctor: (severity, sentence).
        document: of the model file.
        hashes: data file -> SHA-256, and the model file's own.
        speed: table of a speed measurement.
        private: folders of this machine, which are taken out of the page wherever they stand.
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
    subtitle: str = "Report of an equipot training run"
    frames: Mapping[str, Sequence[Frame]] = field(default_factory=dict)
    atomic_energies: Mapping[str, float] = field(default_factory=dict)
    outliers: Sequence[Outlier] = ()
    check: CheckReport | None = None
    findings: Sequence[tuple[str, str]] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    speed: Table | None = None
    private: Sequence[str] = ()
    sections: Sequence[Section] = ()


#: Whose errors count: the first of these that is there.
_HELD_OUT = ("data", "test", "validation")


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


def _learning_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Curve]]:
    epochs = [row["epoch"] for row in rows]
    panels: dict[str, list[Curve]] = {}
    for label, key in (
        ("loss", "loss"),
        ("forces MAE (meV/Å)", "forces_mae_mev_per_angstrom"),
        ("energy MAE (meV/atom)", "energy_mae_mev_per_atom"),
        ("stress MAE (GPa)", "stress_mae_gpa"),
    ):
        train = [(row.get("train") or {}).get(key) for row in rows]
        validation = [(row.get("validation") or {}).get(key) for row in rows]
        if any(value is not None for value in (*train, *validation)):
            panels[label] = train_validation("", epochs, train, validation)
    return panels


def learning_curve_of(rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> Figure:
    """Draw the learning curve from the rows of ``metrics.jsonl``."""
    return learning_curve(_learning_curves(rows), best_epoch=best_epoch)


def _learning_panels(rows: Sequence[Mapping[str, Any]], best_epoch: int | None) -> list[Figure]:
    """The panels of the learning curve one by one."""
    return [learning_curve({label: curves}, best_epoch=best_epoch) for label, curves in _learning_curves(rows).items()]


def make_figures(record: RunRecord) -> dict[str, Picture]:
    """Draw all plots of a run: name -> figure and caption. Labels that are nowhere get no plot."""
    pictures: dict[str, Picture] = {}
    best = record.summary.get("best_epoch")
    if record.rows:
        pictures["learning_curve"] = Picture(
            learning_curve_of(record.rows, best),
            "Loss and errors over the epochs. Training: running mean over the steps of the epoch, with the weights of "
            "each step; validation: with the averaged weights. The dotted line is the epoch whose weights are in the "
            "model.",
            _learning_panels(record.rows, best),
        )
    if any((row.get("train") or {}).get("energy_share") is not None for row in record.rows):
        pictures["loss_shares"] = Picture(
            loss_shares(record.rows),
            "What the training loss is made of: shares of energy, forces and stress.",
            (loss_shares(record.rows),),
        )
    for name, quantity in QUANTITIES.items():
        points = {split: pairs[name] for split, pairs in record.points.items() if pairs[name][0].size}
        if points:
            pictures[f"parity_{name}"] = Picture(
                parity(quantity, points, record.metrics),
                f"Predicted against reference {quantity.axis} ({quantity.unit}) with the distribution of the errors.",
                [parity(quantity, {split: pair}, record.metrics) for split, pair in points.items()],
            )
    shown = [
        quantity
        for quantity in QUANTITIES.values()
        if any(group.get(quantity.mae) is not None for metrics in record.metrics.values() for group in metrics.values())
    ]
    if shown:
        pictures["error_by_config_type"] = Picture(
            error_by_config_type(record.metrics),
            "Mean absolute errors of each config_type.",
            [error_by_config_type(record.metrics, quantities=(quantity.name,)) for quantity in shown],
        )
    states = [comparison for comparison in record.comparisons if comparison.equation_of_state is not None]
    if states:
        pictures["equation_of_state"] = Picture(
            equation_of_state_plot(record.comparisons),
            "Energy against volume; points are computed, lines the fitted Birch–Murnaghan equations of state.",
            [equation_of_state_plot([comparison]) for comparison in states],
        )
    elastic = [
        comparison
        for comparison in record.comparisons
        if any(row.value is not None and row.unit == "GPa" for row in comparison.rows)
    ]
    if elastic:
        pictures["elastic_constants"] = Picture(
            elastic_plot(record.comparisons),
            "Bulk modulus B and elastic constants; above the bars the deviation from the reference.",
            [elastic_plot([comparison]) for comparison in elastic],
        )
    return pictures


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    summary = record.summary
    data = ", ".join(f"{metrics['all']['num_configurations']} {split}" for split, metrics in record.metrics.items())
    facts = [
        ("Model", record.model),
        ("Elements", ", ".join(summary["elements"])),
        ("Cutoff", f"{summary['cutoff']:g} Å"),
        ("Parameters", f"{summary['num_parameters']:,}"),
        ("Frames", data),
    ]
    if summary.get("epochs") is not None:
        best = summary.get("best_epoch")
        facts.append(("Epochs", f"{summary['epochs']}" + (f", best {best}" if best is not None else "")))
    if summary.get("train_seconds") is not None:
        facts.append(("Training time", _duration(summary["train_seconds"])))
    return facts


def _cost_facts(record: RunRecord) -> list[tuple[str, str]]:
    """What the training took."""
    summary, seconds = record.summary, record.summary.get("train_seconds")
    frames = record.metrics.get("train", {}).get("all", {}).get("num_configurations")
    epochs = summary.get("epochs")
    facts = [("Training time", _duration(seconds)), ("Epochs", str(epochs)), ("Steps", str(summary.get("steps", "–")))]
    if seconds and epochs:
        facts.append(("An epoch", f"{seconds / epochs:.3g} s"))
        if frames:
            facts.append(("Frames a second", f"{frames * epochs / seconds:.3g} (validation included)"))
    if summary.get("seconds_after_training") is not None:
        facts.append(("Evaluation, properties and check", f"{summary['seconds_after_training']:.1f} s"))
    return facts


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = divmod(round(seconds / 60), 60)[::-1]
    return f"{minutes} min ({seconds:.0f} s)" if not hours else f"{hours} h {minutes} min ({seconds:.0f} s)"


def _headline(record: RunRecord) -> list[Headline]:
    split = next((name for name in (*_HELD_OUT, *record.metrics) if name in record.metrics), None)
    group = record.metrics[split]["all"] if split else {}
    heads = [
        Headline(f"{split} {quantity.name} MAE", format_number(group.get(quantity.mae)), quantity.metric_unit)
        for quantity in QUANTITIES.values()
        if group.get(quantity.mae) is not None
    ]
    heads += [
        Headline(
            f"of {leak['of']} {leak['part']} frames are also in {leak['also_in']}", str(leak["frames"]), status="fail"
        )
        for leak in record.summary.get("leaks") or ()
    ]
    if record.check is not None:
        counts = record.check.counts
        done = sum(counts[status] for status in ("pass", "warn", "fail"))
        words = [
            f"{counts[status]} {word}" for status, word in (("fail", "failed"), ("warn", "warned")) if counts[status]
        ]
        heads.append(
            Headline(
                "physics checks passed" + (f", {', '.join(words)}" if words else ""),
                f"{counts['pass']} of {done}",
                status=record.check.worst,
            )
        )
    return heads


def render_report(record: RunRecord, pictures: Mapping[str, Picture]) -> str:
    """Write the page of a run or a model as HTML.

    Args:
        record: what there is to show.
        pictures: from :func:`make_figures`.
    """

    def shown(*names: str) -> list[Picture]:
        return [pictures[name] for name in names if name in pictures]

    coverage = coverage_facts(record.frames, record.atomic_energies)
    sections = [
        *record.sections,
        Section("Model card", _card(record, coverage)),
        Section(
            "Errors",
            [*_errors(record), *shown("error_by_config_type", "parity_energy", "parity_forces", "parity_stress")],
        ),
        Section("Worst frames", _outliers(record.outliers)),
        Section(
            "Training",
            [*([Facts(_cost_facts(record))] if record.rows else []), *shown("learning_curve", "loss_shares")],
        ),
        Section("Physics check", _check(record.check)),
        Section(
            "Properties",
            [property_table(record.comparisons), *shown("equation_of_state", "elastic_constants")]
            if record.comparisons
            else [],
        ),
        Section("Data", _data(record, coverage)),
        Section(
            "Speed",
            [
                "Measured on the machine this page was written on, at that moment, whatever else it did. "
                "equipot bench measures more sizes and threads.",
                record.speed,
            ]
            if record.speed is not None
            else [],
        ),
        Section("Provenance", _provenance(record)),
    ]
    page = render(
        Page(
            title=record.name,
            subtitle=record.subtitle,
            facts=_facts(record),
            headline=_headline(record),
            sections=[section for section in sections if section.blocks],
            footer=f"Written by equipot {__version__}. Errors of forces and stress are per component; stress is "
            "positive under tension.",
        )
    )
    return without_folders(page, record.private)


def _card(record: RunRecord, coverage: Sequence[tuple[str, str]]) -> list:
    if not record.document:
        return []
    limits = known_limits(record.document, record.metrics, record.check, record.notes)
    blocks: list = [Facts(card_facts(record.document, coverage), is_wide=True)]
    return [*blocks, "Known limits:" if limits else "No limits are known.", *([Notes(limits)] if limits else [])]


def _errors(record: RunRecord) -> list:
    """The errors of each split, those of the groups of the one that counts, and folded away the groups of all."""
    if not record.metrics:
        return []
    title = "Best epoch, averaged weights" if record.rows else "All frames"
    split = next(name for name in (*_HELD_OUT, *record.metrics) if name in record.metrics)
    blocks: list = [error_table(record.metrics, title=title, groups=False)]
    if len(record.metrics[split]) > 2:
        blocks.append(error_table({split: record.metrics[split]}, title=f"Groups of frames ({split})"))
    if sum(len(groups) > 2 for groups in record.metrics.values()) > 1:
        blocks.append(Folded("Groups of every split", [error_table(record.metrics, title="Groups of every split")]))
    return blocks


def _outliers(outliers: Sequence[Outlier]) -> list:
    if not outliers:
        return []
    viewer = Viewer(tuple(outliers))
    left_out = len(outliers) - len(viewer.drawn)
    stills = [still(outlier, f"{k + 1}") for k, outlier in enumerate(viewer.drawn[:MOST_STILLS])]
    captions = "; ".join(f"{k + 1}. {outlier.source}" for k, outlier in enumerate(viewer.drawn[:MOST_STILLS]))
    blocks = [
        viewer,
        *(
            [
                Picture(
                    None,
                    f"Atoms coloured by the length of their force error, arrows along it: {captions}.",
                    stills,
                    is_still=True,
                )
            ]
            if stills
            else []
        ),
        outlier_table(outliers),
    ]
    return [*blocks, *([f"{left_out} of these frames have too many atoms to be drawn here."] if left_out else [])]


def _check(check: CheckReport | None) -> list:
    if check is None:
        return []
    bad = [
        (result.status, f"{result.code}, {result.title}: {outcome_text(result)}")
        for result in check.results
        if result.status in ("fail", "warn")
    ]
    pictures = check_pictures(check, margins=False)
    stability = check.curves.get("stability")
    return [
        f"{check.form.capitalize()} form. {group_sentence(check)} A failure means that a contract is broken; a "
        "warning, that the model is sound but behaves in a way that spoils simulations outside its data.",
        *([Notes(bad)] if bad else []),
        Folded("All checks, with figures and thresholds", [check_table(check)]),
        *pictures.values(),
        *([stability_table(stability)] if stability else []),
    ]


def _data(record: RunRecord, coverage: Sequence[tuple[str, str]]) -> list:
    blocks: list = list(record.tables)
    if any(record.frames.values()):
        blocks += [
            *([] if record.document else [Facts(coverage)]),
            group_table(record.frames, record.atomic_energies),
            Picture(
                None,
                "Where the frames lie in energy and volume, and how large their forces are.",
                energy_map(record.frames, record.atomic_energies),
            ),
        ]
    if record.findings:
        blocks += ["What the data doctor (equipot data check) says of the frames:", Notes(record.findings)]
    if record.notes and not record.document:  # else they stand among the known limits
        blocks.append(Notes([("warning", note) for note in record.notes]))
    return blocks


def _provenance(record: RunRecord) -> list:
    document, metadata = record.document, record.document.get("metadata") or {}
    versions = record.summary.get("versions") or document.get("created_with") or library_versions()
    facts = [
        ("Model file written", str(document.get("created") or "")),
        ("Trained with", ", ".join(f"{name} {number}" for name, number in versions.items() if number)),
        ("This page", ", ".join(f"{name} {number}" for name, number in library_versions().items())),
        ("Atomic energies from", str(metadata.get("atomic_energies_origin") or "")),
        ("Source of the data", str((metadata.get("training_data") or {}).get("source") or "")),
    ]
    facts += [(f"SHA-256 of {name}", digest) for name, digest in record.hashes.items()]
    blocks: list = [Facts([(label, value) for label, value in facts if value], is_wide=True)]
    if record.config:
        blocks.append(
            Verbatim("Resolved configuration: every default and every number taken from the data", record.config)
        )
    return blocks


def without_folders(page: str, folders: Iterable[str]) -> str:
    """Take the folders of this machine out of a page (not out of its images): it is made to be passed on."""
    names = sorted({folder.rstrip("/") for folder in folders if len(folder.rstrip("/")) > 1}, key=len, reverse=True)
    forms = dict.fromkeys(text for name in names for text in (name, escape(name), json.dumps(name)[1:-1]))
    if not forms:
        return page
    found = re.compile(rf"(?<![\w./-])(?:{'|'.join(map(re.escape, forms))})(?:/|(?![\w.-]))")
    parts = re.split(r'("data:image[^"]*")', page)
    return "".join(part if part.startswith('"data:image') else found.sub("", part) for part in parts)


def write_report(record: RunRecord, path: str | Path, plots: str | Path | None) -> list[Path]:
    """Write every plot as PNG and the page.

    Args:
        record: the run.
        path: of ``report.html``.
        plots: folder of the plots, made if it is not there; None: only the page.

    Returns:
        The files written, the page last.
    """
    pictures = make_figures(record)
    written = []
    if plots is not None:
        plots = Path(plots)
        plots.mkdir(parents=True, exist_ok=True)
        written = [save_figure(picture.figure, plots / f"{name}.png") for name, picture in pictures.items()]
    return [*written, write_text(path, render_report(record, pictures))]
