"""MACE models: equal to mace-torch itself in every covered form, refused by name where they are not covered."""

from __future__ import annotations

import pytest

import equipot
from equipot.checkpoint import load_model
from equipot.checkpoint.foreign import convert, mace
from equipot.cli.main import main
from equipot.errors import CheckpointError, UsageError
from tests.tolerances import FOREIGN, TWIN
from tests.unit.checkpoint.foreign.oracles import FOLDER, assert_within, calculator_errors, errors, records

RANDOM = records("mace")


def parts(name: str):
    model, _, head = name.partition("/")
    return FOLDER / f"mace_{model}.model", head or None


@pytest.mark.parametrize("name", RANDOM)
def test_equals_mace(name):
    path, head = parts(name)
    assert_within(errors(convert("mace", path, head=head, dtype="float64"), RANDOM[name]))


@pytest.mark.parametrize("name", RANDOM)
def test_engine_in_float32(name):
    """The calculator's engine: tables for each pair of elements where distances are transformed, core repulsion."""
    path, head = parts(name)
    assert_within(calculator_errors(equipot.Calculator(convert("mace", path, head=head)), RANDOM[name]), TWIN)


def test_an_unscaled_repulsion_shows(monkeypatch):
    """MACE scales its core repulsion with the network; the mistake of not doing so, planted."""
    monkeypatch.setattr(mace, "_STRENGTH", mace._STRENGTH / 1.7)
    assert errors(convert("mace", FOLDER / "mace_mpa0.model", dtype="float64"), RANDOM["mpa0"]).f > 100 * FOREIGN.f


def test_round_trip_and_command(tmp_path, capsys):
    target = tmp_path / "model.eqp"
    words = ["convert", "mace", str(FOLDER / "mace_mpa0.model"), "-o", str(target), "--dtype", "float64"]
    assert main(words) == 0
    assert "not stated in the file" in capsys.readouterr().out
    assert main(["info", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("converted from:" in line and "mace_mpa0.model, sha256" in line for line in lines)
    assert any("licence:" in line and "not stated" in line for line in lines)
    assert_within(errors(load_model(target), RANDOM["mpa0"]))


def test_the_source_is_never_replaced(tmp_path, capsys):
    source = tmp_path / "a.model"
    source.write_bytes((FOLDER / "mace_plain.model").read_bytes())
    before = source.read_bytes()
    assert main(["convert", "mace", str(source), "-o", str(source), "--overwrite"]) == 2
    assert "left as it is" in capsys.readouterr().err and source.read_bytes() == before


@pytest.mark.parametrize("head", [None, "hse"])
def test_heads(head):
    with pytest.raises(UsageError, match="pbe, r2scan"):
        convert("mace", FOLDER / "mace_heads.model", head=head)


def test_what_is_not_covered_is_named(monkeypatch):
    monkeypatch.setattr(mace, "_INTERACTIONS", {})
    with pytest.raises(CheckpointError, match="RealAgnosticResidualInteractionBlock"):
        convert("mace", FOLDER / "mace_mp0.model")


@pytest.mark.parametrize(("found", "words"), [(set(), "no gate, or one of torch's own"), ({"relu"}, "the gate relu")])
def test_gates(monkeypatch, found, words):
    """torch's own functions, such as tanh, have no name in the file, and so has no gate at all."""
    monkeypatch.setattr(mace, "_names_in", lambda record: found)
    with pytest.raises(CheckpointError, match=words):
        convert("mace", FOLDER / "mace_mp0.model")


def test_a_file_of_another_family():
    with pytest.raises(CheckpointError, match="not a model of MACE"):
        convert("mace", FOLDER / "sevennet_xplor.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of SevenNet"):
        convert("sevennet", FOLDER / "mace_mp0.model")
