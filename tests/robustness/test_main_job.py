"""The main job on the embedded data, shortened: what a newcomer sees must come out right, not only come out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

import equipot

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
METRICS = {
    "num_configurations",
    "energy_mae_mev_per_atom",
    "energy_rmse_mev_per_atom",
    "forces_mae_mev_per_angstrom",
    "forces_rmse_mev_per_angstrom",
    "stress_mae_gpa",
    "stress_rmse_gpa",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quickstart run of twelve epochs, made by the command line."""
    directory = tmp_path_factory.mktemp("main_job") / "quickstart"
    command = [
        sys.executable,
        "-m",
        "equipot",
        "train",
        str(QUICKSTART),
        "training.epochs=12",
        "training.checkpoint_minutes=0.2",
        f"run_directory={directory}",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert finished.returncode == 0, finished.stderr
    assert "C44" in finished.stdout and "forces MAE" in finished.stdout
    return directory


@pytest.mark.slow
@pytest.mark.main_job
def test_errors_are_small_and_complete(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    assert {"num_parameters", "train_seconds", "epochs", "best_epoch", "elements", "cutoff"} <= set(summary)
    test = summary["test"]
    assert set(test["all"]) >= METRICS
    assert test["all"]["forces_mae_mev_per_angstrom"] < 25
    assert test["all"]["energy_mae_mev_per_atom"] < 15


@pytest.mark.slow
@pytest.mark.main_job
def test_crystals_come_out_like_the_teachers(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for name in ("Cu", "Au", "Cu3Au"):
        rows = {row["name"]: row for row in summary["properties"][name]["rows"]}
        assert abs(rows["lattice_constant"]["deviation_percent"]) < 1
        for constant in ("C11", "C12", "C44", "bulk_modulus"):
            assert abs(rows[constant]["deviation_percent"]) < 25, (name, constant, rows[constant])


@pytest.mark.slow
@pytest.mark.main_job
def test_the_model_runs_in_ase_and_agrees_with_the_teacher(run: Path) -> None:
    atoms = bulk("Cu", cubic=True, a=3.6) * 2
    atoms.symbols[::4] = "Au"
    atoms.positions += np.random.default_rng(5).normal(scale=0.08, size=atoms.positions.shape)
    exact = atoms.copy()
    exact.calc, atoms.calc = EMT(), equipot.Calculator(run / "model.eqp")
    assert np.abs(atoms.get_forces() - exact.get_forces()).mean() < 0.05
    assert np.abs(atoms.get_stress() - exact.get_stress()).max() < 0.02


@pytest.mark.slow
@pytest.mark.main_job
def test_report_shows_everything_on_one_page(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    for word in ("Cu3Au", "C44", "meV/atom", "learning", "alloy"):
        assert word.lower() in page.lower(), word
