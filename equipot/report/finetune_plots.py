"""Tables and plots of what a fine-tuning changed: errors, softening, forgetting, short range, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipot.report.figures import BLUE, GREEN, GREY, ORANGE, RED, empty_message, new_figure, plain_label, style
from equipot.report.html import Picture, Section
from equipot.report.plots import error_by_config_type, point_alphas
from equipot.report.points import Points
from equipot.report.tables import ABSENT, Column, Table, error_table, format_error, format_number, group_names

#: Model -> its colour in every plot.
COLORS = {"base": GREY, "zero_shot": ORANGE, "tuned": BLUE, "scratch": RED}
_DEVIATIONS = (
    ("energy_mae_mev_per_atom", "energy", "meV/atom"),
    ("forces_mae_mev_per_angstrom", "forces", "meV/Å"),
    ("stress_mae_gpa", "stress", "GPa"),
)
#: Dimer curves are drawn up to this energy (eV).
_HIGHEST = 20.0
_MOST_POINTS = 12_000

Document = Mapping[str, Any]
Dimers = Mapping[str, Mapping[str, Mapping[str, Any]]]


def label_of(document: Document, model: str) -> str:
    """What a model is called."""
    return document["models"][model]["label"]


def comparison_table(document: Document, *, groups: bool = True) -> Table:
    """Errors of every model on the user's frames."""
    errors = {label_of(document, name): metrics for name, metrics in document["errors"].items()}
    return error_table(
        errors, title=f"Before and after: errors on the {document['split']} frames", groups=groups, heading="model"
    )


def slope_table(document: Document) -> Table:
    """Slope of predicted against reference forces of every model, by config_type."""
    slopes: Mapping[str, Mapping[str, float | None]] = document["force_slopes"]
    names = group_names({name: {} for row in slopes.values() for name in row})
    if len(names) == 2:
        names = names[:1]
    columns = (Column("config_type", is_number=False), *(Column(label_of(document, model)) for model in slopes))
    rows = tuple((name, *(format_number(row.get(name)) for row in slopes.values())) for name in names)
    return Table(
        "Softening: slope of predicted against reference forces",
        columns,
        rows,
        frozenset({0} if names[:1] == ["all"] else ()),
        "1: right; below 1 the potential is too soft.",
    )


def forgetting_table(document: Document, *, groups: bool = True) -> Table | None:
    """How far the tuned potential is from its base, and errors on given frames before and after.

    Args:
        document: of the comparison.
        groups: whether each kind of crystal gets a line.
    """
    forgetting = document.get("forgetting")
    if not forgetting:
        return None
    rows, strong = [], set()
    prototypes = forgetting.get("prototypes")
    note = "Deviation: fine-tuned less base, atomic energies taken off."
    if prototypes:
        slopes = prototypes["force_slopes"]
        names = group_names(prototypes["deviation"])
        for name in names if groups else names[:1]:
            group = prototypes["deviation"][name]
            if name == "all":
                strong.add(len(rows))
            rows.append(
                (
                    "deviation on held-out crystals" if name == "all" else "",
                    name,
                    str(group["num_configurations"]),
                    *_cells(group),
                    format_number(slopes.get(name)),
                )
            )
        left_out = prototypes["num_left_out"]
        note += (
            f" Crystals of {forgetting['elements']} elements, rms force of the base "
            f"{format_number(prototypes['base_forces_rms_ev_per_angstrom'])} eV/Å"
            + (f"; {left_out} left out, on which the base itself is not sound." if left_out else ".")
        )
    for name, pair in forgetting["known"].items():
        for when, text in (("before", "error before"), ("after", "error after")):
            strong.add(len(rows))
            group = pair[when]["all"]
            rows.append((text, name, str(group["num_configurations"]), *_cells(group), ABSENT))
        if pair["num_left_out"]:
            note += f" {name}: {pair['num_left_out']} frames left out, whose elements one of the two does not know."
    columns = (
        Column("", is_number=False),
        Column("structures", is_number=False),
        Column("frames"),
        *(Column(f"{quantity} MAE", unit) for _, quantity, unit in _DEVIATIONS),
        Column("force slope"),
    )
    return Table("Forgetting", columns, tuple(rows), frozenset(strong), note)


def _cells(group: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(format_error(group.get(key)) for key, _, _ in _DEVIATIONS)


def dimer_table(document: Document) -> Table | None:
    """Where dimers attract at short range, and their minima."""
    rows = []
    for pair, models in document["dimers"].items():
        for place, (name, entry) in enumerate(models.items()):
            wall = entry["attracts_up_to_angstrom"]
            rows.append(
                (
                    pair if place == 0 else "",
                    _dimer_label(document, name),
                    "repels" if wall == 0.0 else f"attracts up to {wall:.2f} Å",
                    f"{entry['minimum_angstrom']:.2f}",
                    format_number(entry["minimum_ev"]),
                )
            )
    if not rows:
        return None
    columns = (
        Column("pair", is_number=False),
        Column("model", is_number=False),
        Column("0.1 Å to 0.7 covalent radii", is_number=False),
        Column("minimum", "Å"),
        Column("energy", "eV"),
    )
    return Table("Two atoms alone", columns, tuple(rows))


def _dimer_label(document: Document, name: str) -> str:
    # Without atomic energies the zero-shot model is the base.
    return "base" if name in ("base", "zero_shot") else label_of(document, name)


def cost_table(document: Document) -> Table | None:
    """Parameters, steps and seconds."""
    rows = []
    for name, cost in document["cost"].items():
        steps, seconds = cost.get("steps"), cost.get("train_seconds")
        each = 1e3 * seconds / steps if steps and seconds is not None else None
        number = cost.get("num_trained")
        rows.append(
            (
                label_of(document, name),
                f"{document['models'][name]['num_parameters']:,}",
                ABSENT if number is None else f"{number:,}",
                ABSENT if steps is None else f"{steps:,}",
                format_number(cost.get("num_frames")),
                format_number(seconds),
                format_number(each),
            )
        )
    if not rows:
        return None
    columns = (
        Column("model", is_number=False),
        Column("parameters"),
        Column("of these trained"),
        Column("steps"),
        Column("frames"),
        Column("training", "s"),
        Column("each step", "ms"),
    )
    return Table("Cost", columns, tuple(rows))


def force_panel(
    axes: Axes,
    points: tuple[np.ndarray, np.ndarray],
    slope: float | None,
    color: str,
    title: str,
    labels: tuple[str, str],
) -> None:
    """Predicted against reference force components, with the line through the origin that fits them best."""
    reference, predicted = points
    if not reference.size:
        empty_message(axes, "no forces")
        return
    chosen = np.random.default_rng(0).permutation(reference.size)[:_MOST_POINTS]
    high = 1.05 * max(float(np.abs(reference).max()), float(np.abs(predicted).max()), 1e-3)
    axes.scatter(
        reference[chosen],
        predicted[chosen],
        s=9,
        linewidths=0,
        color=color,
        rasterized=True,
        alpha=point_alphas(reference[chosen], predicted[chosen], (-high, high)),
    )
    axes.axline((0.0, 0.0), slope=1.0, color="#222222", linewidth=0.9, linestyle="--")
    if slope is not None:
        axes.axline((0.0, 0.0), slope=slope, color=GREEN, linewidth=1.2)
    axes.set(
        xlim=(-high, high),
        ylim=(-high, high),
        xlabel=labels[0],
        ylabel=labels[1],
        title=f"{plain_label(title)}\nslope {format_number(slope)}",
    )
    axes.set_aspect("equal")


def force_plot(document: Document, points: Mapping[str, Points], domain_points: Points | None) -> Figure:
    """Forces on the user's frames before and after, and of the tuned potential against its base."""
    shown = [name for name in ("zero_shot", "base") if name in points][:1] + [
        name for name in ("tuned", "scratch") if name in points
    ]
    count = len(shown) + (domain_points is not None)
    with style():
        figure = new_figure(0.5 + 3.6 * max(count, 1), 4.2)
        panels = figure.subplots(1, max(count, 1), squeeze=False)[0]
        if not count:
            empty_message(panels[0], "no model knows all elements of the frames")
        for axes, name in zip(panels, shown):
            force_panel(
                axes,
                points[name]["forces"],
                document["force_slopes"][name]["all"],
                COLORS[name],
                f"{label_of(document, name)} · {document['split']} frames",
                ("reference force component (eV/Å)", "predicted (eV/Å)"),
            )
        if domain_points is not None:
            slope = document["forgetting"]["prototypes"]["force_slopes"]["all"]
            force_panel(
                panels[-1],
                domain_points["forces"],
                slope,
                GREY,
                "fine-tuned against base · crystals",
                ("base (eV/Å)", "fine-tuned (eV/Å)"),
            )
        return figure


def dimer_plot(document: Document, dimers: Dimers) -> Figure:
    """Energy of two atoms before and after, a panel a pair."""
    shown = {pair: curves for pair, curves in dimers.items() if curves}
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    with style():
        figure = new_figure(0.4 + 3.6 * columns, 0.3 + 2.9 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        if not shown:
            empty_message(grid[0], "no dimer curve could be computed")
        for axes, (pair, curves) in zip(grid, shown.items()):
            lowest, highest = 0.0, 1.0
            for name, curve in curves.items():
                distances, energies = np.asarray(curve["distances"]), np.asarray(curve["energies"])
                axes.plot(
                    distances,
                    energies,
                    color=COLORS[name],
                    label=plain_label(_dimer_label(document, name)),
                    linestyle="-" if name == "tuned" else "--",
                )
                outside = distances >= 0.7 * curve["covalent"]
                lowest = min(lowest, float(energies[outside].min()))
                highest = max(highest, min(float(energies[outside].max()), _HIGHEST))
                covalent = float(curve["covalent"])
            axes.axvspan(0.0, 0.7 * covalent, color="#f1f2f4", zorder=0)
            axes.axvline(covalent, color=GREY, linewidth=0.8, linestyle=":")
            axes.axhline(0.0, color=GREY, linewidth=0.8)
            axes.set(
                title=plain_label(pair),
                xlabel="distance (Å)",
                ylabel="energy (eV)",
                xlim=(0.0, float(distances[-1])),
                ylim=(lowest - 0.15 * (highest - lowest), highest),
            )
        if shown:
            grid[0].legend(loc="upper right", fontsize=8)
        for axes in grid[max(len(shown), 1) :]:
            axes.set_axis_off()
        return figure


def finetune_tables(document: Document, *, groups: bool = True) -> list[Table]:
    """All tables, those without content left out; ``groups``: whether each kind of held-out crystal gets a line."""
    tables = [
        comparison_table(document),
        slope_table(document),
        forgetting_table(document, groups=groups),
        dimer_table(document),
        cost_table(document),
    ]
    return [table for table in tables if table is not None and table.rows]


def finetune_pictures(
    document: Document, points: Mapping[str, Points], domain_points: Points | None, dimers: Dimers
) -> dict[str, Picture]:
    """All plots: name -> figure and caption."""
    # The plain base differs from the zero-shot model in the zero of energy only, which would hide everything else.
    errors = {
        label_of(document, name): metrics
        for name, metrics in document["errors"].items()
        if name != "base" or "zero_shot" not in document["errors"]
    }
    colors = {label_of(document, name): color for name, color in COLORS.items() if name in document["models"]}
    pictures = {}
    if errors:
        pictures["finetune_errors"] = Picture(
            error_by_config_type(errors, colors=colors),
            f"Mean absolute errors of each config_type on the {document['split']} frames, before and after.",
        )
    pictures["finetune_forces"] = Picture(
        force_plot(document, points, domain_points),
        "Forces before and after. Green: the line through the origin that fits best; a slope below one means that the "
        "potential is too soft. Right: what is off the dashed line has been forgotten.",
    )
    if dimers:
        pictures["finetune_dimers"] = Picture(
            dimer_plot(document, dimers),
            "Two atoms alone, energy less that of the atoms, before and after. Grey: "
            "closer than 0.7 of the covalent radii, where only a repulsion is safe; dotted: their sum.",
        )
    return pictures


def finetune_section(document: Document, pictures: Mapping[str, Picture], tables: Sequence[Table]) -> Section:
    """The section of ``report.html``."""
    titles = {table.title: table for table in tables}

    def blocks(table: str, *names: str) -> list[Table | Picture]:
        found = [each for title, each in titles.items() if title.startswith(table)]
        return [*found, *(pictures[name] for name in names if name in pictures)]

    absent = [
        f"{label_of(document, name)} does not know {', '.join(elements)} and is left out here."
        for name, elements in document["not_evaluated"].items()
    ]
    return Section(
        "Before and after fine-tuning",
        [
            *absent,
            *blocks("Before", "finetune_errors"),
            *blocks("Softening", "finetune_forces"),
            *blocks("Forgetting"),
            *blocks("Two atoms", "finetune_dimers"),
            *blocks("Cost"),
        ],
    )
