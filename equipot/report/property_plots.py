"""Plots and tables of crystal properties: equation of state and elastic constants beside their reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from equipot.properties import PropertyComparison
from equipot.report.figures import BLACK, BLUE, GREY, RED, empty_message, new_figure, plain_label, style
from equipot.report.tables import Column, Table, format_number
from equipot.units import MEV_PER_EV

_UNITS = {"A": "Å"}


def property_table(comparisons: Sequence[PropertyComparison]) -> Table:
    """Make the table of lattice constants, bulk moduli and elastic constants beside the reference."""
    kinds = {comparison.reference for comparison in comparisons} - {None}
    reference = {"emt": "EMT"}.get(kinds.pop(), "reference") if len(kinds) == 1 else "reference"
    columns = (
        Column("crystal", is_number=False),
        Column("property", is_number=False),
        Column("potential"),
        Column(reference),
        Column("unit", is_number=False),
        Column("deviation", "%"),
    )
    rows = []
    for comparison in comparisons:
        for number, row in enumerate(comparison.rows):
            digits = 5 if row.name == "lattice_constant" else 4
            deviation = row.deviation_percent
            rows.append(
                (
                    f"{comparison.name} ({comparison.lattice})" if number == 0 else "",
                    row.name.replace("_", " "),
                    format_number(row.value, digits),
                    format_number(row.reference, digits),
                    _UNITS.get(row.unit, row.unit),
                    "–" if deviation is None else f"{deviation:+.2f}",
                )
            )
    notes = [f"{comparison.name}: {note}" for comparison in comparisons for note in comparison.notes]
    return Table("Crystal properties", columns, tuple(rows), note=" ".join(notes))


def _reference_name(comparison: PropertyComparison) -> str:
    return "EMT" if comparison.reference == "emt" else "reference"


def equation_of_state_plot(comparisons: Sequence[PropertyComparison]) -> Figure:
    """Draw energy against volume for each crystal, the energies counted from their own minimum."""
    drawn = [comparison for comparison in comparisons if comparison.equation_of_state is not None]
    with style():
        num_columns = min(3, max(1, len(drawn)))
        num_rows = max(1, -(-len(drawn) // num_columns))
        figure = new_figure(0.4 + 3.6 * num_columns, 3.3 * num_rows)
        grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
        if not drawn:
            empty_message(grid[0], "no equation of state could be computed")
        for axes, comparison in zip(grid, drawn):
            curves = [
                (comparison.reference_equation_of_state, _reference_name(comparison), BLACK, "s", "--"),
                (comparison.equation_of_state, "potential", BLUE, "o", "-"),
            ]
            for state, label, color, marker, line in curves:
                if state is None:
                    continue
                volumes = np.linspace(state.volumes.min(), state.volumes.max(), 200)
                scale = MEV_PER_EV / state.num_atoms
                axes.plot(
                    volumes / state.num_atoms,
                    (state.energy_at(volumes) - state.energy) * scale,
                    line,
                    color=color,
                    zorder=2,
                )
                axes.plot(
                    state.volumes / state.num_atoms,
                    (state.energies - state.energy) * scale,
                    marker,
                    color=color,
                    markersize=5 if marker == "o" else 6,
                    markerfacecolor=color if marker == "o" else "none",
                    zorder=3,
                )
                axes.plot(
                    [],
                    [],
                    line,
                    marker=marker,
                    color=color,
                    label=plain_label(label),
                    markerfacecolor=color if marker == "o" else "none",
                    markersize=5 if marker == "o" else 6,
                )
            axes.set(
                xlabel="volume (Å³/atom)",
                ylabel="energy − minimum (meV/atom)",
                title=f"{plain_label(comparison.name)} ({comparison.lattice}), "
                f"a = {comparison.equation_of_state.lattice_constant:.4f} Å",
            )
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.legend(loc="upper center")
        for axes in grid[len(drawn) :]:
            axes.set_axis_off()
        return figure


def elastic_plot(comparisons: Sequence[PropertyComparison]) -> Figure:
    """Draw the moduli of each crystal as bars beside the reference, with the deviation in percent above them."""
    drawn = [
        (comparison, [row for row in comparison.rows if row.unit == "GPa" and row.value is not None])
        for comparison in comparisons
    ]
    drawn = [(comparison, rows) for comparison, rows in drawn if rows]
    with style():
        figure = new_figure(0.8 + 3.3 * max(1, len(drawn)), 3.4)
        if not drawn:
            empty_message(figure.subplots(), "no elastic constants could be computed")
            return figure
        panels = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
        for axes, (comparison, rows) in zip(panels, drawn):
            where = np.arange(len(rows))
            has_reference = any(row.reference is not None for row in rows)
            width = 0.38 if has_reference else 0.6
            if has_reference:
                axes.bar(
                    where - width / 2,
                    [np.nan if row.reference is None else row.reference for row in rows],
                    width,
                    color="#c3c8ce",
                    label=plain_label(_reference_name(comparison)),
                )
            axes.bar(
                where + (width / 2 if has_reference else 0.0),
                [row.value for row in rows],
                width,
                color=BLUE,
                label="potential",
            )
            for position, row in zip(where, rows):
                deviation = row.deviation_percent
                text = format_number(row.value) if deviation is None else f"{deviation:+.1f} %"
                top = max(0.0, row.value, row.reference or 0.0)
                axes.annotate(
                    text,
                    (position, top),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=RED if deviation is not None and abs(deviation) > 10 else "#555a63",
                )
            axes.set_xticks(where, [{"bulk_modulus": "B"}.get(row.name, row.name) for row in rows])
            axes.set_title(f"{plain_label(comparison.name)} ({comparison.lattice})")
            axes.grid(axis="x", visible=False)
            axes.margins(y=0.12)
            axes.axhline(0.0, color=GREY, linewidth=0.8)
        panels[0].set_ylabel("modulus (GPa)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        return figure
