"""Table and plots of a physics check-up: verdicts with figures, dimer curves, energy against volume, conservation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from equipot.checks.model import CheckReport, CheckResult, Measure
from equipot.checks.model.result import GROUPS
from equipot.report.figures import BLUE, GREEN, GREY, ORANGE, RED, empty_message, new_figure, plain_label, style
from equipot.report.html import Picture
from equipot.report.tables import ABSENT, Column, Table

_COLORS = {"pass": GREEN, "warn": ORANGE, "fail": RED}
#: Dimer curves are drawn up to this energy (eV).
_HIGHEST = 20.0
_MOST_PANELS = 15


def figure_text(measure: Measure | None) -> str:
    """A figure with its name and unit."""
    return ABSENT if measure is None else f"{measure.name} {measure.value:.2g} {measure.unit}".strip()


def limit_text(measure: Measure | None) -> str:
    """The threshold of a figure."""
    if measure is None or not np.isfinite(measure.limit):
        return ABSENT
    return f"{measure.limit:.2g}"


def result_line(result: CheckResult) -> str:
    """One outcome on one line, as it is printed while the checks run."""
    measure = result.worst
    text = f"{result.status:<5} {result.code:<4} {result.title:<54} "
    if result.status == "skip" or (measure is None and result.note):
        return text + result.note
    return (
        text
        + f"{figure_text(measure)} (at most {limit_text(measure)})"
        + (f"; {measure.where}" if result.status in ("warn", "fail") and measure.where else "")
        + (f"; {result.note}" if result.note else "")
    )


def outcome_text(result: CheckResult) -> str:
    """The worst figure of a check with its threshold and place, or why there is none."""
    worst = result.worst
    if worst is None or result.note:
        return result.note
    return f"{figure_text(worst)}, at most {limit_text(worst)}" + (f"; {worst.where}" if worst.where else "")


def check_table(report: CheckReport, *, skipped: bool = True) -> Table:
    """Every check with its verdict, its worst figure and the threshold."""
    rows, strong = [], set()
    for result in report.results:
        if result.status == "skip" and not skipped:
            continue
        measure = result.worst
        if result.status in ("warn", "fail"):
            strong.add(len(rows))
        rows.append(
            (
                result.status,
                result.code,
                result.title,
                result.note if result.status == "skip" or measure is None else figure_text(measure),
                limit_text(measure),
                ABSENT if measure is None else measure.where or ABSENT,
            )
        )
    columns = (
        Column("", is_number=False),
        Column("code", is_number=False),
        Column("check", is_number=False),
        Column("worst figure", is_number=False),
        Column("at most"),
        Column("where", is_number=False),
    )
    return Table(f"Physics check ({report.form} form)", columns, tuple(rows), frozenset(strong))


def margin_plot(report: CheckReport) -> Figure:
    """How far each figure is below, or above, its threshold, on a logarithmic axis."""
    shown = [
        (result, result.worst) for result in report.results if result.status != "skip" and result.worst is not None
    ]
    with style():
        figure = new_figure(7.5, 0.8 + 0.22 * max(len(shown), 3))
        axes = figure.subplots()
        if not shown:
            empty_message(axes, "no check could be run")
            return figure
        ratios = np.clip([measure.ratio if np.isfinite(measure.ratio) else 1e3 for _, measure in shown], 1e-9, 1e3)
        places = np.arange(len(shown))[::-1]
        axes.barh(
            places, np.log10(ratios) + 9.0, left=-9.0, height=0.7, color=[_COLORS[result.status] for result, _ in shown]
        )
        axes.axvline(0.0, color="#222222", linewidth=1.2)
        axes.set_yticks(places, [plain_label(f"{result.code}  {result.title}") for result, _ in shown], fontsize=8)
        axes.set(xlim=(-9, 3.2), ylim=(-0.7, len(shown) - 0.3), xlabel="figure over threshold")
        axes.set_xticks(range(-9, 4, 3), ["≤ 10⁻⁹", "10⁻⁶", "10⁻³", "1", "≥ 10³"])
        axes.grid(axis="y", visible=False)
        for status in ("pass", "warn", "fail"):
            axes.barh([-9], [0], color=_COLORS[status], label=status)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3)
        return figure


def _panels(number: int, width: float = 3.4, height: float = 2.8):
    columns = min(3, max(1, number))
    rows = max(1, -(-number // columns))
    figure = new_figure(0.4 + width * columns, height * rows)
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _drawable(curves: Mapping[str, Mapping]) -> dict[str, Mapping]:
    return {name: curve for name, curve in curves.items() if "error" not in curve}


def dimer_plot(curves: Mapping[str, Mapping]) -> Figure:
    """Energy of two atoms against their distance, a panel a pair; 0.7 and 1 times the covalent radii are marked."""
    shown = dict(list(_drawable(curves).items())[:_MOST_PANELS])
    with style():
        figure, grid = _panels(len(shown))
        if not shown:
            empty_message(grid[0], "no dimer curve could be computed")
        for axes, (name, curve) in zip(grid, shown.items()):
            distances, energies = np.asarray(curve["distances"]), np.asarray(curve["energies"])
            axes.plot(distances, energies, color=BLUE)
            outside = distances >= 0.7 * curve["covalent"]
            low = min(float(energies[outside].min()), 0.0)
            high = float(np.clip(energies[outside].max(), 1.0, _HIGHEST))
            axes.axvspan(0.0, 0.7 * curve["covalent"], color="#f1f2f4", zorder=0)
            axes.axvline(curve["covalent"], color=GREY, linewidth=0.8, linestyle=":")
            axes.axhline(0.0, color=GREY, linewidth=0.8)
            axes.set(
                title=plain_label(name),
                xlabel="distance (Å)",
                ylabel="energy (eV)",
                xlim=(0.0, distances[-1]),
                ylim=(low - 0.15 * (high - low), high),
            )
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        return figure


def volume_plot(curves: Mapping[str, Mapping]) -> Figure:
    """Energy against volume far to both sides of the minimum."""
    with style():
        figure, grid = _panels(len(curves), 3.8, 3.1)
        for axes, (name, curve) in zip(grid, curves.items()):
            volumes, energies = np.asarray(curve["volumes"]), np.asarray(curve["energies"])
            scales = np.asarray(curve["scales"])
            lowest = float(energies[np.argmin(np.abs(scales - 1.0))])
            axes.plot(volumes, energies - lowest, "o-", color=BLUE, markersize=3.5)
            outer = energies[scales >= 0.85] - lowest
            axes.set(
                title=plain_label(name),
                xlabel="volume (Å³/atom)",
                ylabel="energy − minimum (eV/atom)",
                ylim=(min(-0.1, float(np.min(energies - lowest)) - 0.1), 1.3 * max(float(outer.max()), 0.5)),
            )
            axes.axhline(0.0, color=GREY, linewidth=0.8)
        for axes in grid[len(curves) :]:
            axes.set_axis_off()
        if not curves:
            empty_message(grid[0], "no crystal could be scaled")
        return figure


def nve_plot(curve: Mapping, width: float = 7.5) -> Figure:
    """Total energy in NVE dynamics with the line fitted to it."""
    with style():
        figure = new_figure(width, 2.8)
        axes = figure.subplots()
        times, values = np.asarray(curve["times_ps"]), np.asarray(curve["energies_mev_per_atom"])
        kept = slice(len(times) // 5, None)
        middle = values[kept].mean()
        axes.plot(times, values - middle, color=BLUE, linewidth=0.8)
        line = np.polyfit(times[kept], values[kept] - middle, 1)
        axes.plot(
            times[kept],
            np.polyval(line, times[kept]),
            color=RED,
            label=f"drift {curve['drift']:+.2g} ± {curve['drift_error']:.1g} meV/atom/ps",
        )
        axes.set(
            xlabel="time (ps)",
            ylabel="total energy (meV/atom)",
            title=plain_label(curve["name"])
            + (", " if width > 6.0 else "\n")
            + f"{curve['atoms']} atoms, {curve['timestep_fs']:.2g} fs",
        )
        axes.legend(loc="upper right")
        return figure


def stability_table(rows: list[Mapping]) -> Table:
    """What each run of the stability check did."""
    columns = (
        Column("structure", is_number=False),
        Column("atoms"),
        Column("temperature", "K"),
        Column("pressure", "GPa"),
        Column("steps"),
        Column("timestep", "fs"),
        Column("hottest", "K"),
        Column("closest pair", "of the start"),
        Column("outcome", is_number=False),
    )
    return Table(
        "Stability of dynamics",
        columns,
        tuple(
            (
                row["name"],
                str(row["atoms"]),
                f"{row['temperature']:g}",
                f"{row['pressure_gpa']:g}",
                str(row["steps"]),
                f"{row['timestep_fs']:.2g}",
                f"{row['hottest']:.0f}",
                f"{row['closest']:.2f}",
                f"failed at step {row['failed_at']}: {row['reason']}" if row["failed_at"] else "stable",
            )
            for row in rows
        ),
    )


def check_pictures(report: CheckReport, *, margins: bool = True) -> dict[str, Picture]:
    """All plots of a check-up: name -> figure and caption.

    Args:
        report: what was found.
        margins: with the plot of every figure over its threshold.
    """
    curves = report.curves
    pictures = {}
    if margins:
        pictures["check_margins"] = Picture(
            margin_plot(report),
            "The worst figure of each check over its threshold; what reaches beyond the line is too large.",
        )
    if curves.get("dimers"):
        left_out = len(curves["dimers"]) - _MOST_PANELS
        pictures["check_dimers"] = Picture(
            dimer_plot(curves["dimers"]),
            "Two atoms alone, energy less that of the atoms. Grey: closer than 0.7 of "
            "the covalent radii, where there are no data as a rule and only a repulsion is safe; dotted: their sum."
            + (f" The first {_MOST_PANELS} of {len(curves['dimers'])} pairs." if left_out > 0 else ""),
            [dimer_plot({name: curve}) for name, curve in list(_drawable(curves["dimers"]).items())[:_MOST_PANELS]],
        )
    if curves.get("volumes"):
        pictures["check_volumes"] = Picture(
            volume_plot(curves["volumes"]),
            "Crystals from 0.7 to 1.5 times their lattice constant.",
            [volume_plot({name: curve}) for name, curve in curves["volumes"].items()],
        )
    if curves.get("nve"):
        pictures["check_nve"] = Picture(
            nve_plot(curves["nve"]),
            "Energy conservation at 300 K without a thermostat.",
            [nve_plot(curves["nve"], 4.0)],
        )
    return pictures


def group_sentence(report: CheckReport) -> str:
    """How many checks of each group passed, in words."""
    parts = []
    for letter, name in GROUPS.items():
        members = [result for result in report.results if result.code[0] == letter and result.status != "skip"]
        if members:
            good = sum(result.status == "pass" for result in members)
            parts.append(f"{name} {good} of {len(members)}")
    return "Passed: " + ", ".join(parts) + "."
