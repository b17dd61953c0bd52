"""The frames to look at are the worst ones, with their own positions and errors, and no name in them becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from ase.build import bulk

from equipot.data.frames import Frame
from equipot.report import viewer as viewer_module
from equipot.report.html import Page, Section, render
from equipot.report.outliers import find_outliers, frame_errors
from equipot.report.viewer import Viewer, outlier_table, payload, script, still, viewer_html
from equipot.training import evaluate
from equipot.workflow.evaluation import graphs_of
from tests.systems import make_potential

HOSTILE = '</script><script>alert("1")</script>'


def frames(count: int = 9) -> list[Frame]:
    """Labelled crystals; some labels are missing, one has a name that is an attack."""
    generator = np.random.default_rng(0)
    found = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True, a=3.6)
        atoms.symbols[0] = "Au"
        atoms.positions += generator.normal(scale=0.1, size=atoms.positions.shape)
        stress = generator.normal(scale=0.01, size=(3, 3))
        found.append(
            Frame(
                atoms,
                energy=float(generator.normal()),
                forces=generator.normal(size=(4, 3)),
                stress=stress + stress.T,
                config_type=HOSTILE if k == 0 else "rattled",
                source=f"{HOSTILE if k == 0 else 'frames.xyz'} frame {k}",
                index=k,
            )
        )
    found[1].forces = None
    found[2].energy = float("nan")
    found[3].stress = None
    return found


@pytest.fixture(scope="module")
def evaluated():
    potential = make_potential("nequip spline")
    graphs = graphs_of(frames(), potential)
    return potential, graphs, evaluate(potential, graphs, collect=True).predictions


def test_errors_of_a_frame_are_those_of_the_metrics(evaluated):
    potential, graphs, predictions = evaluated
    for graph, prediction in zip(graphs, predictions):
        metrics = evaluate(potential, [graph]).metrics["all"]
        errors = frame_errors(graph, prediction)
        for key, name in (
            ("energy_error", "energy_mae_mev_per_atom"),
            ("force_error", "forces_rmse_mev_per_angstrom"),
            ("stress_error", "stress_mae_gpa"),
        ):
            if metrics[name] is None:
                assert errors[key] is None
            else:
                assert abs(errors[key]) == pytest.approx(metrics[name], rel=1e-9)


def test_the_worst_frames_of_each_label_come_first(evaluated):
    _, graphs, predictions = evaluated
    outliers = find_outliers({"test": graphs}, {"test": predictions}, per_label=2)
    errors = [frame_errors(graph, prediction) for graph, prediction in zip(graphs, predictions)]
    for key in ("largest_force_error", "energy_error", "stress_error"):
        worst = max(range(len(errors)), key=lambda k, key=key: abs(errors[k][key] or 0.0))
        words = {"largest_force_error": "force"}.get(key, key.split("_")[0])
        found = next(outlier for outlier in outliers if f"largest {words} error" in outlier.reasons)
        assert found.source == graphs[worst].source and getattr(found, key) == errors[worst][key]
    assert len({outlier.source for outlier in outliers}) == len(outliers) <= 6


def test_what_the_script_draws_are_positions_and_errors_of_these_frames(evaluated):
    _, graphs, predictions = evaluated
    outliers = find_outliers({"test": graphs}, {"test": predictions})
    data = payload(outliers)
    by_source = {graph.source: (graph, prediction) for graph, prediction in zip(graphs, predictions)}
    assert [element["symbol"] for element in data["elements"]] == ["Cu", "Au"]
    for frame in data["frames"]:
        graph, prediction = by_source[frame["name"]]
        assert np.allclose(np.reshape(frame["position"], (-1, 3)), graph.positions, atol=1e-3)
        assert np.allclose(np.reshape(frame["cell"], (3, 3)), graph.cell[0], atol=1e-4)
        symbols = [data["elements"][place]["symbol"] for place in frame["element"]]
        assert symbols == ["Au", "Cu", "Cu", "Cu"]
        if frame["force"][0] is None:
            assert frame["error"] == [None] * 12
            continue
        error = prediction.forces - graph.forces.numpy()
        assert np.allclose(np.reshape(frame["error"], (-1, 3)), error, atol=1e-5)
        assert np.allclose(np.reshape(frame["force"], (-1, 3)), graph.forces, atol=1e-5)


def test_hostile_names_stay_text_and_only_our_script_may_run(evaluated):
    _, graphs, predictions = evaluated
    outliers = find_outliers({HOSTILE: graphs}, {HOSTILE: predictions})
    page = render(
        Page(
            HOSTILE,
            HOSTILE,
            [(HOSTILE, HOSTILE)],
            [Section("Worst frames", [Viewer(tuple(outliers)), outlier_table(outliers)])],
        )
    )
    assert "<script>alert" not in page
    assert page.count("<script>") == 1 and page.count("<script ") == 1 and page.count("</script>") == 2
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert any(HOSTILE in frame["name"] for frame in data["frames"])
    code = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    allowed = re.search(r"script-src 'sha256-([^']+)'", page)[1]
    assert allowed == base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert "default-src 'none'" in page and "unsafe-eval" not in page


def test_the_script_fetches_nothing_and_writes_no_markup():
    forbidden = r"fetch\(|XMLHttp|import\b|eval\(|innerHTML|insertAdjacent|document\.write|https?:|localStorage"
    assert not re.search(forbidden, script())


def test_frames_too_large_together_are_listed_but_not_drawn(evaluated, monkeypatch):
    _, graphs, predictions = evaluated
    outliers = tuple(find_outliers({"test": graphs}, {"test": predictions}))
    monkeypatch.setattr(viewer_module, "MOST_ATOMS", 10)
    assert len(Viewer(outliers).drawn) == 2
    monkeypatch.setattr(viewer_module, "MOST_ATOMS", 3)
    assert viewer_html(Viewer(outliers)) == ""
    assert len(outlier_table(outliers).rows) == len(outliers)


def test_the_still_picture_shows_atoms_cell_and_error_vectors(evaluated):
    _, graphs, predictions = evaluated
    outlier = next(
        outlier for outlier in find_outliers({"test": graphs}, {"test": predictions}) if outlier.force_error is not None
    )
    axes = still(outlier, "1").axes[0]
    lines, circles, arrows = axes.collections
    assert len(circles.get_paths()) == 4 and len(lines.get_segments()) == 12
    assert sorted(circles.get_array()) == pytest.approx(sorted(outlier.atom_errors))
    # The longest arrow is a quarter of the picture, less what points at the reader.
    assert 0 < np.hypot(arrows.U, arrows.V).max() <= 0.2501 * max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
