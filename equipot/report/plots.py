"""The plots of a training run: learning curve, parity of each label, errors by config_type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from equipot.report.figures import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SPLIT_COLORS,
    empty_message,
    new_figure,
    plain_label,
    style,
)
from equipot.report.tables import Metrics, format_error, group_names
from equipot.units import MEV_PER_EV


@dataclass(frozen=True)
class Quantity:
    """One label as it is plotted: its name, axis text, unit and the metrics that belong in its titles."""

    name: str
    axis: str
    unit: str
    mae: str
    rmse: str
    metric_unit: str
    #: What turns a difference on the axes into the unit of the metrics.
    metric_scale: float


QUANTITIES = {
    "energy": Quantity(
        "energy",
        "energy − atomic energies",
        "eV/atom",
        "energy_mae_mev_per_atom",
        "energy_rmse_mev_per_atom",
        "meV/atom",
        MEV_PER_EV,
    ),
    "forces": Quantity(
        "forces",
        "force component",
        "eV/Å",
        "forces_mae_mev_per_angstrom",
        "forces_rmse_mev_per_angstrom",
        "meV/Å",
        MEV_PER_EV,
    ),
    "stress": Quantity("stress", "stress component", "GPa", "stress_mae_gpa", "stress_rmse_gpa", "GPa", 1.0),
}
#: More points than this are thinned out (the worst are always drawn).
MAX_POINTS = 40_000


@dataclass(frozen=True)
class Curve:
    """One line of a learning curve: its label, its epochs and its values."""

    label: str
    epochs: Sequence[float]
    values: Sequence[float]
    color: str = BLUE
    is_dashed: bool = False


def log_axis(axis, low: float, high: float) -> None:
    """Label a logarithmic axis with plain numbers, at 1, 2 and 5 where it spans less than two decades."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if high / low < 60:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_formatter(NullFormatter())


def _finite(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    epochs = np.asarray(curve.epochs, dtype=float)
    values = np.array([np.nan if value is None else value for value in curve.values], dtype=float)
    keep = np.isfinite(values) & (values > 0)
    return epochs[keep], values[keep]


def learning_curve(panels: Mapping[str, Sequence[Curve]], *, best_epoch: int | None = None) -> Figure:
    """Draw quantities over the epochs, each in a panel of its own with a logarithmic axis.

    Args:
        panels: axis label with its unit -> the curves in that panel.
        best_epoch: the epoch whose weights are in the model file; marked in every panel.
    """
    with style():
        num_panels = max(1, len(panels))
        num_columns = min(2, num_panels)
        num_rows = -(-num_panels // num_columns)
        figure = new_figure(4.9 * num_columns, 3.1 * num_rows + 0.2)
        grid = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True).ravel()
        for axes, (label, curves) in zip(grid, panels.items()):
            drawn = [(curve, *_finite(curve)) for curve in curves]
            drawn = [item for item in drawn if item[1].size]
            if not drawn:
                empty_message(axes, f"{label}: nothing recorded")
                continue
            for curve, epochs, values in drawn:
                axes.plot(
                    epochs,
                    values,
                    color=curve.color,
                    label=plain_label(curve.label),
                    linestyle="--" if curve.is_dashed else "-",
                    marker="o" if epochs.size < 3 else None,
                    markersize=4,
                )
            axes.set_yscale("log")
            low, high = min(v.min() for _, _, v in drawn), max(v.max() for _, _, v in drawn)
            log_axis(axes.yaxis, low, high)
            axes.set_ylabel(plain_label(label))
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.xaxis.set_tick_params(labelbottom=True)
            if best_epoch is not None:
                axes.axvline(
                    best_epoch, color=GREY, linewidth=1.0, linestyle=":", label=f"best epoch ({best_epoch})", zorder=1
                )
            axes.legend(loc="upper right")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if not panels:
            empty_message(grid[0], "no epoch was recorded")
        return figure


def point_alphas(reference: np.ndarray, predicted: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Opacity of each point of a cloud: full where it is alone, faint where many lie on each other."""
    edges = np.linspace(limits[0], limits[1], 121)
    counts, _, _ = np.histogram2d(reference, predicted, bins=(edges, edges))
    column = np.clip(np.searchsorted(edges, reference, side="right") - 1, 0, 119)
    row = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, 119)
    return np.clip(0.85 / np.sqrt(np.maximum(counts[column, row], 1.0)), 0.08, 0.85)


def _thin(reference: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if reference.size <= MAX_POINTS:
        return reference, predicted
    order = np.argsort(-np.abs(predicted - reference), kind="stable")
    rest = np.random.default_rng(0).permutation(order[200:])[: MAX_POINTS - 200]
    keep = np.concatenate([rest, order[:200]])
    return reference[keep], predicted[keep]


def _parity_panel(
    axes: Axes,
    split: str,
    reference: np.ndarray,
    predicted: np.ndarray,
    quantity: Quantity,
    limits: tuple[float, float],
    group: Mapping[str, Any],
) -> None:
    axes.axline((limits[0], limits[0]), slope=1.0, color=BLACK, linewidth=0.9, linestyle="--", zorder=3)
    reference, predicted = _thin(reference, predicted)
    axes.scatter(
        reference,
        predicted,
        s=11,
        linewidths=0,
        color=SPLIT_COLORS.get(split, BLUE),
        rasterized=True,
        alpha=point_alphas(reference, predicted, limits),
        zorder=2,
    )
    axes.set(
        xlim=limits,
        ylim=limits,
        xlabel=f"reference {quantity.axis} ({quantity.unit})",
        ylabel=f"predicted {quantity.axis} ({quantity.unit})",
    )
    axes.label_outer()
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    inset = axes.inset_axes((0.62, 0.09, 0.35, 0.24))
    errors = (predicted - reference) * quantity.metric_scale
    spread = max(float(np.quantile(np.abs(errors), 0.98)), 1e-12)
    inset.hist(errors, bins=np.linspace(-spread, spread, 32), color=SPLIT_COLORS.get(split, BLUE))
    inset.set_xlabel(f"error ({quantity.metric_unit})", fontsize=7, labelpad=1)
    inset.tick_params(labelsize=7, length=2, pad=1)
    inset.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    inset.set_yticks([])
    inset.spines["left"].set_visible(False)
    inset.grid(visible=False)
    inset.patch.set_alpha(0.85)
    inset.set_in_layout(False)
    axes.set_title(
        f"{plain_label(split)} · {group.get('num_configurations', 0)} frames\n"
        f"MAE {format_error(group.get(quantity.mae))}, "
        f"RMSE {format_error(group.get(quantity.rmse))} {quantity.metric_unit}"
    )


def parity(
    quantity: Quantity, points: Mapping[str, tuple[np.ndarray, np.ndarray]], metrics_by_split: Mapping[str, Metrics]
) -> Figure:
    """Draw predicted against reference values, one panel a split.

    Args:
        quantity: what is drawn.
        points: split -> (reference, predicted), flat arrays of equal length in the quantity's unit; values that are
            not finite (missing labels) are left out.
        metrics_by_split: the errors in the titles come from here, so that they are those of the table.
    """
    finite = {}
    for split, (reference, predicted) in points.items():
        reference, predicted = np.ravel(np.asarray(reference, float)), np.ravel(np.asarray(predicted, float))
        keep = np.isfinite(reference) & np.isfinite(predicted)
        if keep.any():
            finite[split] = reference[keep], predicted[keep]
    with style():
        figure = new_figure(0.5 + 3.6 * max(1, len(finite)), 4.4)
        if not finite:
            empty_message(figure.subplots(), f"no labels of {quantity.name}")
            return figure
        everything = np.concatenate([values for pair in finite.values() for values in pair])
        low, high = float(everything.min()), float(everything.max())
        margin = 0.04 * (high - low) or max(1e-3, 0.01 * abs(high))
        for axes, (split, (reference, predicted)) in zip(
            figure.subplots(1, len(finite), squeeze=False)[0], finite.items()
        ):
            _parity_panel(
                axes,
                split,
                reference,
                predicted,
                quantity,
                (low - margin, high + margin),
                metrics_by_split.get(split, {}).get("all", {}),
            )
        return figure


def loss_shares(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw what the training loss is made of over the epochs: energy, forces and stress, stacked to one."""
    kept = [row for row in rows if (row.get("train") or {}).get("energy_share") is not None]
    with style():
        figure = new_figure(4.9, 3.1)
        axes = figure.subplots()
        if not kept:
            empty_message(axes, "no shares of the loss were recorded")
            return figure
        shares = [[row["train"].get(f"{label}_share") or 0.0 for row in kept] for label in QUANTITIES]
        axes.stackplot(
            [row["epoch"] for row in kept],
            shares,
            labels=list(QUANTITIES),
            colors=(ORANGE, BLUE, "#b9bec6"),
            linewidth=0,
            step="mid" if len(kept) == 1 else None,
        )
        axes.set(xlabel="epoch", ylabel="share of the training loss", ylim=(0, 1))
        axes.margins(x=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=3)
        return figure


def error_by_config_type(
    metrics_by_split: Mapping[str, Metrics],
    *,
    statistic: str = "mae",
    colors: Mapping[str, str] = SPLIT_COLORS,
    quantities: Sequence[str] = tuple(QUANTITIES),
) -> Figure:
    """Draw the errors of every config_type as horizontal bars, one panel a label and one colour a split.

    Args:
        metrics_by_split: split -> group -> metrics.
        statistic: ``mae`` or ``rmse``.
        colors: split -> its colour.
        quantities: names of the labels drawn.
    """
    names = group_names({name: None for metrics in metrics_by_split.values() for name in metrics})
    splits = list(metrics_by_split)
    keys = [
        (quantity, quantity.mae if statistic == "mae" else quantity.rmse)
        for quantity in QUANTITIES.values()
        if quantity.name in quantities
    ]
    keys = [
        (quantity, key)
        for quantity, key in keys
        if any(group.get(key) is not None for metrics in metrics_by_split.values() for group in metrics.values())
    ]
    with style():
        figure = new_figure(1.6 + 3.4 * max(1, len(keys)), 1.3 + max(0.34, 0.17 * len(splits)) * max(1, len(names)))
        if not keys or not names:
            empty_message(figure.subplots(), "no labels to compare with")
            return figure
        height = 0.8 / len(splits)
        panels = figure.subplots(1, len(keys), squeeze=False, sharey=True)[0]
        for axes, (quantity, key) in zip(panels, keys):
            drawn = []
            for number, split in enumerate(splits):
                values = [metrics_by_split[split].get(name, {}).get(key) for name in names]
                values = np.array([np.nan if value is None else value for value in values], dtype=float)
                where = np.arange(len(names)) + (number - (len(splits) - 1) / 2) * height
                axes.barh(where, values, height * 0.9, color=colors.get(split, BLUE), label=plain_label(split))
                drawn.extend(zip(where, values))
            _finish_bars(axes, drawn, f"{quantity.name} {statistic.upper()} ({quantity.metric_unit})")
        panels[0].set_yticks(np.arange(len(names)), [plain_label(name) or "(none)" for name in names])
        panels[0].set_ylim(len(names) - 0.45, -0.55)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(splits))
        return figure


def _finish_bars(axes: Axes, drawn: list[tuple[float, float]], label: str) -> None:
    """Scale, label and number the bars of one panel; logarithmic where they span more than a factor of 40."""
    values = np.array([value for _, value in drawn])
    positive = values[np.isfinite(values) & (values > 0)]
    high = positive.max() if positive.size else 1.0
    # Errors that symmetry makes zero but for rounding would take most of a logarithmic axis.
    low = positive[positive > 1e-4 * high].min() if positive.size else 0.1
    if high / low > 40:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, high * 4)
        log_axis(axes.xaxis, low, high)
    else:
        axes.set_xlim(0, high * 1.22)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    for where, value in drawn:
        if np.isfinite(value):
            axes.annotate(
                format_error(float(value)),
                (max(value, low / 2), where),
                xytext=(3, 0),
                fontsize=7,
                textcoords="offset points",
                va="center",
                color="#555a63",
            )
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def train_validation(
    label: str, epochs: Sequence[float], train: Sequence[float | None], validation: Sequence[float | None]
) -> list[Curve]:
    """The usual pair of curves: training dashed, validation solid."""
    return [
        Curve(f"{label}training", epochs, train, SPLIT_COLORS["train"], is_dashed=True),
        Curve(f"{label}validation", epochs, validation, ORANGE),
    ]
