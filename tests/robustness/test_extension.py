"""A finished run that is given more epochs goes on; one that is not finished still may not change."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from equipot.checkpoint import load_model
from equipot.cli.main import main
from equipot.workflow import training

WORDS = ["train", "run.yaml", "run_directory=runs/tiny", "properties=[]", "physics_check=off", "report=off"]


@pytest.fixture
def finished(here, workplace):
    shutil.copytree(workplace / "done", here / "runs" / "tiny")
    return here / "runs" / "tiny"


def _epochs(run):
    return [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_finished_run_is_made_longer(finished, capsys):
    before = (finished / "summary.json").read_bytes()
    assert main([*WORDS, "--resume", "training.epochs=5"]) == 0
    said = capsys.readouterr().out
    assert "The finished run of 2 epochs goes on to 5." in said
    rate = 0.03 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 2 / 5)))
    assert f"cosine over 5 epochs from here on: {rate:.3g}, falling to 0.0003" in said
    assert _epochs(finished) == [0, 1, 2, 3, 4, 5]
    assert json.loads((finished / "summary.json").read_text())["epochs"] == 5
    assert (finished / "summary.2-epochs.json").read_bytes() == before
    assert (finished / "report.2-epochs.html").exists() and not (finished / "report.html").exists()
    assert "No report (report: off)" in said and "Report:" not in said
    capsys.readouterr()
    assert main([*WORDS, "--resume", "training.epochs=5", "report=full"]) == 0  # finished, nothing to do but the report
    assert (finished / "report.html").exists() and "Report ..." in capsys.readouterr().out
    assert _epochs(finished) == [0, 1, 2, 3, 4, 5]
    assert main([*WORDS, "--overwrite", "training.epochs=1"]) == 0
    assert not (finished / "summary.2-epochs.json").exists()


def _stop_after(calls):
    @contextmanager
    def stop_on_signal():
        counted = iter(range(10**6))
        yield lambda: next(counted) >= calls

    return stop_on_signal


def test_a_stopped_extension_ends_as_if_it_had_not_been(finished, here, monkeypatch):
    shutil.copytree(finished, here / "runs" / "unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(training, "stop_on_signal", _stop_after(9))
        assert main([*WORDS, "--resume", "training.epochs=5"]) == 75
    assert _epochs(finished)[-1] < 5 and not (finished / "summary.json").exists()
    # Now it is not finished, and is as exact as any other.
    assert main([*WORDS, "--resume", "training.epochs=6"]) == 2
    assert main([*WORDS, "--resume", "training.epochs=5"]) == 0
    other = [word.replace("tiny", "unbroken") for word in WORDS]
    assert main([*other, "--resume", "training.epochs=5"]) == 0
    first, second = (load_model(here / "runs" / name / "model.eqp").state_dict() for name in ("tiny", "unbroken"))
    for name, tensor in second.items():
        assert np.array_equal(first[name].numpy(), tensor.numpy()), name


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["training.epochs=1"], "finished after 2 epochs"),
        (["training.epochs=4", "training.batch_size=2"], "training.batch_size (the run has 4, now 2)"),
        (["training.epochs=4", "optimizer.learning_rate=0.01"], "cannot be resumed with a changed configuration"),
    ],
)
def test_what_may_not_change(words, part, finished, capsys):
    assert main([*WORDS, "--resume", *words]) == 2
    assert part in capsys.readouterr().err
    assert (finished / "summary.json").exists()


def test_a_run_that_stopped_early_says_how_to_go_on(finished, capsys):
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    best = max(row["epoch"] for row in rows if row["is_best"])
    text = (finished / "config.yaml").read_text()
    assert "early_stopping_patience: null" in text
    (finished / "config.yaml").write_text(text.replace("early_stopping_patience: null", "early_stopping_patience: 1"))
    if best < 2:  # which epoch is best may differ between machines
        assert main([*WORDS, "--resume", "training.epochs=4", "training.early_stopping_patience=1"]) == 2
        assert "stopped early" in capsys.readouterr().err
    assert main([*WORDS, "--resume", "training.epochs=4"]) == 0  # null: it may be changed with the epochs
