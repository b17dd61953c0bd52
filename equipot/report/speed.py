"""The table and the plot of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from equipot.report.figures import BLUE, GREEN, ORANGE, PINK, RED, SKY, new_figure, plain_label, style
from equipot.report.plots import log_axis
from equipot.report.tables import ABSENT, Column, Table, format_number
from equipot.simulation.speed import Benchmark

_COLORS = (BLUE, ORANGE, GREEN, RED, PINK, SKY)
_COLUMNS = (
    Column("atoms"),
    Column("threads"),
    Column("time", "µs/atom/step"),
    Column("quartiles", "µs/atom/step"),
    Column("speed", "ns/day"),
    Column("one step", "ms"),
    Column("new list", "steps"),
    Column("memory", "MB"),
)


def speed_table(result: Benchmark) -> Table:
    """Make the table of a benchmark."""
    rows = []
    for measurement in result.measurements:
        step = measurement.step
        low, high = (format_number(1e6 * value / step.num_atoms) for value in step.quartiles)
        rows.append(
            (
                str(step.num_atoms),
                str(measurement.threads),
                format_number(step.us_per_atom),
                f"{low}–{high}",
                format_number(step.ns_per_day(result.timestep_fs)),
                format_number(1e3 * step.seconds),
                ABSENT if step.steps_per_list is None else f"{step.steps_per_list:.0f}",
                ABSENT if step.peak_bytes is None else f"{step.peak_bytes / 1e6:.0f}",
            )
        )
    busy = "" if result.busy is None else f" The machine was busy ({result.busy}): a quiet one is faster than this."
    what = "energy, forces and stress" if result.has_stress else "energy and forces"
    return Table(
        f"Speed on {result.structure}",
        _COLUMNS,
        tuple(rows),
        note=(
            f"{what.capitalize()} of moving atoms through the ASE calculator, neighbour list included; "
            f"{result.kernels} kernels, {result.dtype}; ns/day with steps of {result.timestep_fs:g} fs; "
            f"memory: the whole process.{busy}"
        ),
    )


def speed_plot(result: Benchmark) -> Figure:
    """Draw µs an atom and step, and ns a day, against the number of atoms, one line a number of threads."""
    with style():
        figure = new_figure(9.8, 3.6)
        panels = figure.subplots(1, 2)
        for color, threads in zip(_cycle(result), sorted({m.threads for m in result.measurements})):
            steps = [m.step for m in result.measurements if m.threads == threads]
            atoms = np.array([step.num_atoms for step in steps], dtype=float)
            value = np.array([step.us_per_atom for step in steps])
            low, high = (np.array([1e6 * step.quartiles[k] / step.num_atoms for step in steps]) for k in (0, 1))
            label = f"{threads} thread{'s' if threads > 1 else ''}"
            spread = np.maximum(0.0, [value - low, high - value])
            panels[0].errorbar(
                atoms, value, yerr=spread, color=color, marker="o", markersize=4, capsize=2, elinewidth=0.8, label=label
            )
            panels[1].plot(
                atoms,
                [step.ns_per_day(result.timestep_fs) for step in steps],
                color=color,
                marker="o",
                markersize=4,
                label=label,
            )
        for axes, label in zip(panels, ("µs per atom and step", f"ns per day (steps of {result.timestep_fs:g} fs)")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("atoms")
            axes.set_ylabel(label)
            _widen(axes)
            log_axis(axes.xaxis, *axes.get_xlim())
            log_axis(axes.yaxis, *axes.get_ylim())
            axes.legend()
        figure.suptitle(
            f"{plain_label(result.structure)}: {result.kernels}, {result.dtype}", x=0.01, ha="left", fontsize=10
        )
        return figure


def _widen(axes: Axes) -> None:
    """Show at least a decade of each axis, so that a line that is flat but for noise looks flat."""
    for get, put in ((axes.get_xlim, axes.set_xlim), (axes.get_ylim, axes.set_ylim)):
        low, high = get()
        middle = np.sqrt(low * high)
        put(min(low, middle / 3.2), max(high, middle * 3.2))


def _cycle(result: Benchmark) -> Sequence[str]:
    count = len({m.threads for m in result.measurements})
    return [_COLORS[n % len(_COLORS)] for n in range(count)]
