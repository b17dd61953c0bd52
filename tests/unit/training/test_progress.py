"""What a person sees: lines with units, a bar on a terminal, an estimate beforehand."""

from __future__ import annotations

import io

from equipot.checkpoint import RunDirectory
from equipot.training import BarProgress, LineProgress, dry_run, fit, make_progress
from equipot.training import saver as saver_module
from equipot.training.rows import duration, row_text
from tests.unit.training.systems import PairPotential, config, datasets


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal_lines_elsewhere():
    assert isinstance(make_progress(Terminal()), BarProgress) and isinstance(make_progress(io.StringIO()), LineProgress)


def train(tmp_path, monkeypatch, progress):
    monkeypatch.setattr(saver_module, "save_model", lambda *_, **__: None)
    with RunDirectory(tmp_path / "run").create() as run:
        fit(PairPotential(), datasets(), config(training={"epochs": 3}), run, progress=progress)


def test_lines_have_units_shares_and_time_left(tmp_path, monkeypatch):
    stream = io.StringIO()
    train(tmp_path, monkeypatch, LineProgress(stream))
    first, *lines = stream.getvalue().splitlines()
    assert first.startswith("Warm-up of 0 steps instead of schedule.warmup_steps=4")
    assert [line[:9] for line in lines[:4]] == ["epoch 0/3", "epoch 1/3", "epoch 2/3", "epoch 3/3"]
    for words in ("loss", "(E ", " F ", " S ", "meV/atom", "meV/Å", "GPa", "left"):
        assert words in lines[1]
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_bar_shows_epoch_and_ends_cleanly(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    train(tmp_path, monkeypatch, BarProgress(stream))
    text = stream.getvalue()
    assert "epoch 3/3" in text and "meV/Å" in text
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text  # the bar is gone and the cursor back


def test_row_without_validation_shows_training_errors():
    row = {
        "epoch": 2,
        "learning_rate": 0.01,
        "is_best": False,
        "seconds": 1.0,
        "total_seconds": 2.0,
        "validation": None,
        "train": {
            "loss": 0.5,
            "energy_share": 0.1,
            "forces_share": 0.9,
            "stress_share": None,
            "grad_norm": 1.0,
            "num_bad_steps": 2,
            "energy_mae_mev_per_atom": 3.0,
        },
    }
    text = row_text(row, 4)
    assert "training E 3.00 meV/atom" in text and "2 steps skipped" in text and "2 s left" in text
    assert "S " not in text


def test_all_steps_bad_is_still_a_row():
    row = {
        "epoch": 1,
        "learning_rate": 0.01,
        "is_best": False,
        "seconds": 1.0,
        "total_seconds": 1.0,
        "validation": None,
        "train": {"loss": None, "grad_norm": None, "num_bad_steps": 3},
    }
    assert "3 steps skipped" in row_text(row, 1)


def test_durations():
    assert [duration(seconds) for seconds in (3, 600, 9000)] == ["3 s", "10 min", "2.5 h"]


def test_dry_run_estimates_and_leaves_the_potential_alone(tmp_path, monkeypatch):
    potential = PairPotential()
    before = {name: value.clone() for name, value in potential.state_dict().items()}
    estimate = dry_run(potential, datasets(), config(training={"epochs": 10, "evaluate_every": 2}), num_steps=3)
    assert all((value == before[name]).all() for name, value in potential.state_dict().items())
    assert estimate.num_parameters == potential.num_trainable_parameters() and estimate.steps_per_epoch == 3
    assert estimate.seconds_per_epoch > 3 * estimate.seconds_per_step > 0
    assert estimate.seconds_total > 10 * estimate.seconds_per_epoch * 0.99 and estimate.peak_memory_mib > 10
    assert any("seconds" in line or " s an epoch" in line for line in estimate.lines())
    assert list(tmp_path.iterdir()) == []


def test_dry_run_without_validation_and_out_of_time():
    estimate = dry_run(PairPotential(), datasets(2, 0), config(), max_seconds=0.0)
    assert estimate.seconds_per_validation == 0.0 and estimate.seconds_per_step > 0
