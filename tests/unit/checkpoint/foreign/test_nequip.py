"""Deployed NequIP models: equal to nequip itself, with odd scalars too, and refused by name where not covered."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import yaml

import equipot
from equipot.checkpoint.foreign import convert
from equipot.cli.main import main
from equipot.errors import CheckpointError
from tests.tolerances import TWIN
from tests.unit.checkpoint.foreign.oracles import (
    FOLDER,
    SIGN_ERROR,
    assert_within,
    calculator_errors,
    errors,
    plant_other_coupling_signs,
    records,
)

RANDOM = records("nequip")


@pytest.mark.parametrize("name", RANDOM)
def test_equals_nequip(name):
    assert_within(errors(convert("nequip", FOLDER / f"nequip_{name}.pth", dtype="float64"), RANDOM[name]))


@pytest.mark.parametrize("name", RANDOM)
def test_engine_in_float32(name):
    calculator = equipot.Calculator(convert("nequip", FOLDER / f"nequip_{name}.pth"))
    assert_within(calculator_errors(calculator, RANDOM[name]), TWIN)


def test_wrong_coupling_signs_show(monkeypatch):
    """Three layers with parity are too few for these couplings to reach the scalars."""
    name = "rotations"
    plant_other_coupling_signs(monkeypatch)
    potential = convert("nequip", FOLDER / f"nequip_{name}.pth", dtype="float64")
    assert errors(potential, {"chiral cluster": RANDOM[name]["chiral cluster"]}).f > SIGN_ERROR


def test_command(tmp_path, capsys):
    target = tmp_path / "model.eqp"
    assert main(["convert", "nequip", str(FOLDER / "nequip_parity.pth"), "-o", str(target)]) == 0
    assert "sha256" in capsys.readouterr().out and target.exists()


def changed(target: Path, change: dict) -> Path:
    """A copy of a deployed model that says something else in its configuration."""
    with zipfile.ZipFile(FOLDER / "nequip_parity.pth") as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("extra/config"):
                content = yaml.safe_dump({**yaml.safe_load(content), **change}).encode()
            copy.writestr(info.filename, content)
    return target


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resnet": True}, "resnet: True"),
        ({"nonlinearity_scalars": {"e": "ssp", "o": "tanh"}}, "ssp"),
        ({"edge_sh_normalization": "norm"}, "edge_sh_normalization: norm"),
        ({"SphericalHarmonicEdgeAttrs_edge_sh_normalization": "norm"}, "edge_sh_normalization: norm"),
    ],
)
def test_what_is_not_covered_is_named(tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words):
        convert("nequip", changed(tmp_path / "other.pth", change))


def test_harmonics_of_vectors_that_are_not_normalized(tmp_path):
    potential = convert("nequip", changed(tmp_path / "other.pth", {"edge_sh_normalize": False}))
    assert potential.architecture.options.solid_harmonics


def test_a_file_of_another_family():
    with pytest.raises(CheckpointError, match="not a deployed model of NequIP"):
        convert("nequip", FOLDER / "mace_mp0.model")
