"""Plots show what they were given, with units, and leave matplotlib's global state alone."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest

from equipot.report import check_plots, data_plots, plots
from equipot.report.figures import save_figure, svg_data_uri
from equipot.report.run_report import learning_curve_of
from tests.unit.report.samples import METRICS, ROWS, points


def texts(figure) -> str:
    import matplotlib.text

    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_learning_curve_has_logarithmic_axes_units_and_the_best_epoch(tmp_path):
    figure = learning_curve_of(ROWS, 7)
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 4 and all(axes.get_yscale() == "log" for axes in panels)
    shown = texts(figure)
    for part in ("loss", "meV/Å", "meV/atom", "GPa", "training", "validation", "best epoch (7)", "epoch"):
        assert part in shown
    best = [line for axes in panels for line in axes.lines if list(line.get_xdata()) == [7, 7]]
    assert len(best) == 4
    validation = next(line for line in panels[0].lines if line.get_label() == "validation")
    assert list(validation.get_xdata()) == [1, 3, 5, 7, 9]
    assert save_figure(figure, tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_learning_curve_of_a_run_without_epochs_says_so():
    assert "no epoch was recorded" in texts(learning_curve_of([], None))


def test_parity_titles_are_the_errors_of_the_table_and_the_axes_are_equal():
    given = points()["forces"]
    figure = plots.parity(plots.QUANTITIES["forces"], {"test": given, "train": given}, METRICS)
    shown = texts(figure)
    assert "MAE 40.0, RMSE 80.0 meV/Å" in shown and "reference force component (eV/Å)" in shown
    main = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in main}) == 1
    low, high = main[0].get_xlim()
    assert main[0].get_ylim() == (low, high) and low < given[0].min() and high > given[0].max()


def test_parity_leaves_out_missing_labels_and_keeps_the_worst_of_many():
    reference = np.linspace(-1, 1, plots.MAX_POINTS * 2)
    predicted = reference.copy()
    predicted[12345] += 3.0
    reference[7] = np.nan
    figure = plots.parity(plots.QUANTITIES["energy"], {"test": (reference, predicted)}, METRICS)
    cloud = figure.axes[0].collections[0].get_offsets()
    assert len(cloud) == plots.MAX_POINTS and np.isfinite(cloud).all()
    assert np.abs(cloud[:, 1] - cloud[:, 0]).max() == pytest.approx(3.0)


@pytest.mark.parametrize("values", [np.zeros(1), np.full(5, 3.0), np.array([np.nan])])
def test_parity_of_degenerate_clouds_draws(values, tmp_path):
    figure = plots.parity(plots.QUANTITIES["stress"], {"test": (values, values)}, METRICS)
    save_figure(figure, tmp_path / "parity.png", dpi=40)


def test_crowded_points_are_fainter():
    crowded = np.concatenate([np.zeros(500), [0.9]])
    alphas = plots.point_alphas(crowded, crowded, (-1.0, 1.0))
    assert alphas[0] < 0.1 < 0.8 < alphas[-1]


def test_bars_name_every_config_type_and_turn_logarithmic_over_wide_ranges():
    figure = plots.error_by_config_type(METRICS)
    shown = texts(figure)
    for part in ("all", "rattled", "<b>liquid", "energy MAE (meV/atom)", "forces MAE (meV/Å)", "stress MAE (GPa)"):
        assert part in shown
    energy, _, stress = figure.axes
    assert energy.get_xscale() == "log" and stress.get_xscale() == "linear"
    assert len(energy.patches) == 9


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    svg = svg_data_uri(learning_curve_of(ROWS, 7))
    assert svg.startswith("data:image/svg+xml;base64,")
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


FORMULAS = ("$x_{$", "$broken^$ \\frac", "_hidden", "100 $")


@pytest.mark.parametrize("name", FORMULAS)
def test_names_are_drawn_as_they_are_and_not_read_as_formulas(name, tmp_path):
    """A config_type with two dollar signs took the whole report away."""
    group = METRICS["train"]["all"]
    curve = {"volumes": [1.0, 1.1], "energies": [0.0, 0.1], "scales": [1.0, 1.1]}
    curve |= {"distances": np.linspace(0.5, 4.0, 9), "energies": np.zeros(9), "covalent": 1.0}
    volume = {"volumes": np.linspace(9, 11, 5), "energies": np.ones(5), "scales": np.linspace(0.9, 1.1, 5)}
    nve = {"times_ps": np.arange(50.0), "energies_mev_per_atom": np.arange(50.0), "drift": 1.0, "drift_error": 0.1}
    nve |= {"name": name, "atoms": 2, "timestep_fs": 1.0}
    figures = [
        plots.error_by_config_type({name: {"all": group, name: group}}),
        plots.parity(plots.QUANTITIES["forces"], {name: points()["forces"]}, {name: {"all": group}}),
        plots.learning_curve({name: plots.train_validation(name, [1, 2], [1.0, 0.5], [2.0, 1.0])}),
        data_plots.volume_plot({name: [(name, 10.0 + i, 0.1 * i) for i in range(4)] + [("b", 1.0, 2.0)]}),
        data_plots.force_plot({name: np.ones(5), "other": np.ones(3)}),
        data_plots.neighbour_plot({name: np.array([3, 4])}, 4.0),
        data_plots.composition_plot({name: 3}, {"Cu": (3, 3)}),
        check_plots.dimer_plot({name: curve}),
        check_plots.volume_plot({name: volume}),
        check_plots.nve_plot(nve),
    ]
    for number, figure in enumerate(figures):
        save_figure(figure, tmp_path / f"{number}.png")
        assert svg_data_uri(figure)
        drawn = texts(figure).replace(r"\$", "$")
        assert name in drawn or name in "".join(map(str, figure.axes[0].get_legend_handles_labels()[1])), number
