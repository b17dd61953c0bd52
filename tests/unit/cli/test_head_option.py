"""Verbs that load a model take ``--head`` where the file holds several, and say so where it is missing."""

from __future__ import annotations

import json

import pytest

from equipot.checkpoint import save_model
from equipot.cli.main import main
from tests.systems import make_potential


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    one, two = make_potential("nequip", "float32"), make_potential("nequip", "float32", seed=1)
    save_model("two.eqp", one, metadata={"head": "pbe"}, heads={"scan": two})
    return "two.eqp"


def test_report(model, tmp_path, capsys):
    assert main(["report", model, "--check", "off"]) == 2
    assert "Choose one with --head" in capsys.readouterr().err
    assert main(["report", model, "--check", "off", "--head", "scan"]) == 0
    assert (tmp_path / "two.html").stat().st_size > 10_000


def test_properties(model, tmp_path, capsys):
    words = ["properties", model, "fcc:Cu", "--only", "relaxation", "--output"]
    assert main([*words, "none"]) == 2
    assert "Choose one with --head" in capsys.readouterr().err and not (tmp_path / "none").exists()
    found = {}
    for head in ("pbe", "scan"):
        assert main([*words, head, "--head", head]) == 0
        document = json.loads((tmp_path / head / "properties.json").read_text())
        found[head] = document["model_fingerprint"]
        assert f"two.eqp (head {head})" in json.dumps(document)
    assert found["pbe"] != found["scan"]
    assert main(["properties", "emt", "fcc:Cu", "--output", "emt", "--head", "pbe"]) == 2
