"""A named pipe in the place of a file is refused in a sentence: opening it would wait for a writer for ever."""

from __future__ import annotations

import os

import pytest

from equipot import checkpoint
from equipot.cli.main import main
from tests.systems import make_potential


@pytest.mark.parametrize(
    "words",
    [
        "data check pipe.xyz",
        "data check pipe.traj",
        "data check pipe.db",
        "data check pipe.xml",
        "train pipe.yaml",
        "info pipe.eqp",
        "convert mace pipe.pt --output out.eqp",
        "eval model.eqp pipe.xyz",
        "predict model.eqp pipe.xyz --output out.xyz",
        "md model.eqp pipe.xyz",
        "lammps input model.eqp pipe.xyz -o out",
        "properties emt pipe.xyz --output out",
    ],
)
def test_it_is_refused(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = next(word for word in words.split() if word.startswith("pipe"))
    os.mkfifo(name)
    checkpoint.save_model("model.eqp", make_potential("nequip spline"))
    assert main(words.split()) in (1, 2)
    error = capsys.readouterr().err
    assert f"{name}" in error and "is not a" in error and "file" in error and "bug" not in error
