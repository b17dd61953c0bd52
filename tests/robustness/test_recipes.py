"""Every recipe in configs/ runs as it stands, for one epoch of a small network."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import equipot
from equipot.config import load_config

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {"quickstart", "ta_snap"} <= {recipe.stem for recipe in RECIPES}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_where_its_data_are(recipe: Path) -> None:
    data = load_config(recipe).data
    assert data.generate or data.source


def _smaller(recipe: Path) -> str:
    """An override that makes the recipe's model small."""
    descriptors = load_config(recipe).model.architecture == "behler_parrinello"
    return "model.hidden=[4]" if descriptors else "model.num_channels=4"


@pytest.mark.slow
@pytest.mark.main_job
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs(recipe: Path, tmp_path: Path) -> None:
    if load_config(recipe).data.generate is None and "EQUIPOT_DATA" not in os.environ:
        pytest.skip(f"{recipe.name} needs its published data set; point EQUIPOT_DATA at the folder that holds it")
    result = equipot.train(
        recipe,
        overrides=["training.epochs=1", _smaller(recipe), f"run_directory={tmp_path / 'run'}", "properties=[]"],
        quiet=True,
    )
    summary = json.loads(result.summary_path.read_text())
    assert result.model_path.exists() and result.report_path.exists()
    assert summary["epochs"] == 1
    for split in ("train", "validation", "test"):
        assert result.metrics[split]["all"]["forces_mae_mev_per_angstrom"] > 0
