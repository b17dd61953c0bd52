"""A small trained run and small files of frames, made once for the tests of what users see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equipot.data.frames import Frame
from equipot.data.synthetic import cu_au_emt
from equipot.data.writing import write_frames

CONFIG = """\
name: tiny
data:
  train: [frames.xyz]
  split: {validation: 0.2, test: 0.2}
model: {architecture: mace, preset: null, cutoff: 3.5, num_layers: 1, num_channels: 4, l_max: 1, feature_l_max: 0,
        correlation: 2, radial_hidden: [8], readout_hidden: [4]}
training: {epochs: 2, batch_size: 4}
properties:
  - {name: Cu, lattice: fcc, lattice_constant: 3.6, reference: emt}
"""


@pytest.fixture(scope="session")
def small_frames() -> list[Frame]:
    """Thirty-six frames of four config types with at most 8 atoms, and the isolated atoms."""
    frames, counts = [], {}
    for frame in cu_au_emt(0):
        kind = frame.config_type
        if len(frame.atoms) <= 8 and counts.get(kind, 0) < 12:
            counts[kind] = counts.get(kind, 0) + 1
            frames.append(frame)
    return frames


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, small_frames) -> Path:
    """A folder with ``frames.xyz``, ``run.yaml`` and the run ``done`` trained from them."""
    from equipot import train

    folder = tmp_path_factory.mktemp("workplace")
    write_frames(folder / "frames.xyz", small_frames)
    (folder / "run.yaml").write_text(CONFIG)
    train(folder / "run.yaml", overrides=[f"run_directory={folder / 'done'}"], quiet=True)
    return folder


@pytest.fixture
def here(tmp_path, workplace, monkeypatch) -> Path:
    """An empty working folder with links to the frames, the configuration and the model of ``workplace``."""
    for name in ("frames.xyz", "run.yaml"):
        (tmp_path / name).write_bytes((workplace / name).read_bytes())
    (tmp_path / "model.eqp").write_bytes((workplace / "done" / "model.eqp").read_bytes())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EQUIPOT_DATA", raising=False)
    return tmp_path


@pytest.fixture
def mistake(here, capsys):
    """Runs a command that must fail with one sentence and leave no trace; returns the sentence."""
    from equipot.cli.main import main

    def files() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in here.rglob("*") if path.is_file()}

    def run(*arguments: str, code: int) -> str:
        before = files()
        capsys.readouterr()
        found = main([os.fspath(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert files() == before, "the command left something behind"
        assert "Traceback" not in captured.err and "bug in equipot" not in captured.err, captured.err
        complaints = [line for line in captured.err.splitlines() if line.startswith("equipot: error: ")]
        assert len(complaints) == 1, captured.err
        assert captured.err.strip().endswith(complaints[0]), "the complaint is the last thing said, on one line"
        assert found == code, captured.err
        sentence = complaints[0].removeprefix("equipot: error: ")
        assert len(sentence) < 900 and sentence.rstrip().endswith((".", ")", "?"))
        return sentence

    return run
