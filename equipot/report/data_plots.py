"""Plots of a look at data: energy against volume, forces, neighbours, compositions and elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from equipot.checks.data import DataReport
from equipot.report.figures import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    SKY,
    YELLOW,
    empty_message,
    new_figure,
    plain_label,
    style,
)
from equipot.report.html import Picture

_COLORS = (BLUE, ORANGE, GREEN, RED, PINK, SKY, YELLOW, GREY)
_MOST_PANELS, _MOST_GROUPS, _MOST_BARS = 6, 8, 25
#: Forces below this (eV/Angstrom) are zero by symmetry; drawn at the left edge.
_ZERO_FORCE = 1e-4


def _largest_groups(groups: Mapping[str, Sequence]) -> list[str]:
    return sorted(groups, key=lambda name: -len(groups[name]))[: _MOST_GROUPS - (len(groups) > _MOST_GROUPS)]


def volume_plot(volumes: Mapping[str, Sequence[tuple[str, float, float]]]) -> Figure:
    """Energy an atom against volume an atom, a panel a composition, a colour a config_type."""
    shown = sorted(volumes, key=lambda name: -len(volumes[name]))[:_MOST_PANELS]
    with style():
        columns = min(2, max(1, len(shown)))
        rows = max(1, -(-len(shown) // columns))
        figure = new_figure(0.6 + 4.1 * columns, 0.4 + 3.0 * rows)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        if not shown:
            empty_message(grid[0], "no frame has an energy and a volume")
        for axes, name in zip(grid, shown):
            _volume_panel(axes, name, volumes[name])
        for axes in grid[len(shown) :]:
            axes.set_axis_off()
        return figure


def _volume_panel(axes, name: str, points: Sequence[tuple[str, float, float]]) -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for group, volume, energy in points:
        groups.setdefault(group, []).append((volume, energy))
    named = _largest_groups(groups)
    for color, group in zip(_COLORS, named):
        values = np.array(groups[group])
        axes.plot(
            values[:, 0],
            values[:, 1],
            "o",
            color=color,
            markersize=3,
            alpha=0.65,
            label=plain_label(group),
            rasterized=len(values) > 500,
            markeredgewidth=0,
        )
    rest = [point for group, values in groups.items() if group not in named for point in values]
    if rest:
        values = np.array(rest)
        axes.plot(
            values[:, 0],
            values[:, 1],
            "o",
            color=GREY,
            markersize=3,
            alpha=0.65,
            label="others",
            markeredgewidth=0,
            rasterized=len(values) > 500,
        )
    axes.set(title=f"{plain_label(name)} ({len(points)})", xlabel="volume (Å³/atom)", ylabel="energy (eV/atom)")
    energies = np.array([energy for _, _, energy in points])
    low, high = energies.min(), np.percentile(energies, 97.0)
    if energies.max() > high + 3.0 * (high - low) and high > low:  # a few far ones must not hide the others
        axes.set_ylim(low - 0.05 * (high - low), high + 0.6 * (high - low))
        above = int((energies > high + 0.6 * (high - low)).sum())
        axes.set_title(f"{plain_label(name)} ({len(points)}; {above} above, up to {energies.max():.3g} eV/atom)")
    elif np.ptp(energies) < 1e-9:
        axes.set_ylim(low - 0.5, low + 0.5)
    axes.ticklabel_format(axis="y", useOffset=False)
    if len(groups) > 1:
        axes.legend(fontsize=7, markerscale=1.3, loc="best", handletextpad=0.1, borderaxespad=0.2)


def force_plot(forces: Mapping[str, np.ndarray]) -> Figure:
    """Histogram of the size of forces, on logarithmic axes, a line a config_type."""
    with style():
        figure = new_figure(7.5, 3.4)
        axes = figure.subplots()
        forces = {name: np.asarray(values) for name, values in forces.items() if len(values)}
        if not forces or max(values.max() for values in forces.values()) <= 0.0:
            empty_message(axes, "no forces, or all zero")
            return figure
        top = max(float(values.max()) for values in forces.values())
        edges = np.logspace(np.log10(_ZERO_FORCE), np.log10(max(top * 1.2, 1.0)), 60)
        named = _largest_groups(forces)
        series = [(name, forces[name]) for name in named]
        rest = [forces[name] for name in forces if name not in named]
        series += [("others", np.concatenate(rest))] if rest else []
        for color, (name, values) in zip(_COLORS, series):
            counts, _ = np.histogram(np.maximum(values, _ZERO_FORCE), edges)
            axes.stairs(counts, edges, color=color, label=plain_label(name), linewidth=1.4)
        axes.set(xscale="log", yscale="log", ylim=(0.7, None), xlabel="size of the force (eV/Å)", ylabel="atoms")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure


def neighbour_plot(counts: Mapping[str, np.ndarray], cutoff: float) -> Figure:
    """How many neighbours atoms of each element have."""
    names = sorted(counts, key=lambda name: -len(counts[name]))[:_MOST_GROUPS]
    with style():
        figure = new_figure(7.5, 3.2)
        axes = figure.subplots()
        if not names:
            empty_message(axes, "no neighbours")
            return figure
        top = max(int(counts[name].max()) for name in names)
        step = max(1, -(-top // 60))
        edges = np.arange(0, top + 2 * step, step) - 0.5
        for color, name in zip(_COLORS, names):
            found, _ = np.histogram(counts[name], edges)
            axes.stairs(found / max(found.sum(), 1), edges, color=color, label=plain_label(name), linewidth=1.4)
        axes.set(xlabel=f"neighbours within {cutoff:g} Å", ylabel="fraction of atoms", ylim=(0, None))
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure


def composition_plot(compositions: Mapping[str, int], elements: Mapping[str, tuple[int, int]]) -> Figure:
    """Frames of each composition and of each element."""
    with style():
        left = list(compositions.items())[:_MOST_BARS]
        right = sorted(elements.items(), key=lambda item: -item[1][0])[:_MOST_BARS]
        figure = new_figure(8.5, 1.2 + 0.2 * max(len(left), len(right), 3))
        both = figure.subplots(1, 2)
        for axes, rows, title in ((both[0], left, "composition"), (both[1], [(n, c[0]) for n, c in right], "element")):
            if not rows:
                empty_message(axes, f"no {title}")
                continue
            places = np.arange(len(rows))[::-1]
            axes.barh(places, [count for _, count in rows], color=BLUE, height=0.7)
            axes.set_yticks(places, [plain_label(name) for name, _ in rows], fontsize=8)
            axes.set(xlabel="frames", title=f"by {title}", ylim=(-0.7, len(rows) - 0.3))
            axes.grid(axis="y", visible=False)
        return figure


def data_pictures(report: DataReport, cutoff: float) -> dict[str, Picture]:
    """All plots of a look at data: name -> figure and caption."""
    curves = report.curves
    pictures = {}
    if curves.get("volumes"):
        more = len(curves["volumes"]) - _MOST_PANELS
        pictures["data_volumes"] = Picture(
            volume_plot(curves["volumes"]),
            "Energy against volume. Frames off the curve of their group, or a second "
            "curve beside it, come from other settings or another structure."
            + (f" The {_MOST_PANELS} most frequent of {len(curves['volumes'])} compositions." if more > 0 else ""),
        )
    if curves.get("forces"):
        pictures["data_forces"] = Picture(
            force_plot(curves["forces"]),
            f"Size of the forces. What is zero by symmetry is drawn at {_ZERO_FORCE:g} eV/Å.",
        )
    if curves.get("neighbours"):
        pictures["data_neighbours"] = Picture(neighbour_plot(curves["neighbours"], cutoff), "Neighbours an atom.")
    if curves.get("compositions"):
        pictures["data_compositions"] = Picture(
            composition_plot(curves["compositions"], curves.get("elements", {})), "What the frames are made of."
        )
    return pictures
