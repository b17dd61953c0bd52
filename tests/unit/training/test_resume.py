"""Stopped anywhere and resumed equals uninterrupted, to the bit: weights, average, best epoch, rows, checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from equipot.checkpoint import RunDirectory, load
from equipot.errors import CheckpointError, Interrupted
from equipot.training import fit
from equipot.training import saver as saver_module
from tests.unit.training.systems import PairPotential, config, datasets, real_potential, without_times

#: Everything at once: accumulation, a second stage, selection, early stopping's counter, epochs without evaluation.
SETTINGS = {
    "soap": config(
        training={"epochs": 6, "batch_size": 2, "accumulate": 2, "evaluate_every": 2},
        loss={"stage_two": {"start": 0.6, "energy_weight": 30.0, "learning_rate_factor": 0.5}},
        optimizer={"name": "soap", "precondition_frequency": 2},
    ),
    "plateau": config(
        training={"epochs": 6, "batch_size": 3, "best_metric": "forces_mae", "select_after": 0.3},
        schedule={"name": "plateau", "patience": 0, "warmup_steps": 2},
        optimizer={"name": "adamw", "learning_rate": 0.6, "weight_decay": 0.01},
    ),
    "early": config(
        training={"epochs": 12, "batch_size": 8, "early_stopping_patience": 2, "ema_decay": None, "select_after": 0.0},
        schedule={"name": "constant"},
        optimizer={"name": "sgd", "learning_rate": 1.5},
    ),
    "edges": config(training={"epochs": 4, "batch_size": None, "batch_edges": 120, "clip_norm": 0.1}),
}


@pytest.fixture
def light_models(monkeypatch):
    """Model files of a stand-in potential: its weights only."""

    def save_model(path, potential, *, metadata):
        torch_free = {name: value.tolist() for name, value in potential.state_dict().items()}
        path.write_text(json.dumps({"weights": torch_free, "metadata": metadata}))

    monkeypatch.setattr(saver_module, "save_model", save_model)


class StopAfter:
    """Asks to stop at the n-th question."""

    def __init__(self, questions):
        self.left = questions

    def __call__(self):
        self.left -= 1
        return self.left < 0


def train(path, settings, *, stop=lambda: False, resume=False, data=None, make=PairPotential):
    run = RunDirectory(path)
    run = run.resume() if resume else run.create()
    with run:
        result = fit(make(), datasets() if data is None else data, settings, run, resume=resume, stop=stop)
    return result, run


def outcome(result, run):
    """All that must be equal."""
    tensors, document = run.latest()
    rows = without_times(run.read_metrics())
    skeleton = json.dumps(document["state"]["dict"])
    return {
        "weights": {name: value.clone() for name, value in result.potential.state_dict().items()},
        "checkpoint": tensors,
        "rows": rows,
        "best": (result.best_epoch, result.best_value, result.epochs, result.steps),
        "skeleton": skeleton,
    }


def assert_equal(first, second):
    for kind in ("weights", "checkpoint"):
        assert first[kind].keys() == second[kind].keys()
        for name, value in first[kind].items():
            assert torch.equal(value, second[kind][name]), f"{kind} {name}"
    assert first["rows"] == second["rows"]
    assert first["best"] == second["best"]


def model(run):
    return json.loads(run.model_path.read_text())


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SETTINGS)
def test_resume_equals_uninterrupted_at_every_point(tmp_path, light_models, name, every):
    """The stop is asked at every place the loop looks: after steps, between epochs, within evaluations."""
    settings = SETTINGS[name]
    asked = StopAfter(10**9)
    whole, whole_run = train(tmp_path / "whole", settings, stop=asked)
    expected, expected_model = outcome(whole, whole_run), model(whole_run)
    num_questions = 10**9 - asked.left
    for point in range(0, num_questions, every):
        path = tmp_path / f"stopped-{point}"
        with pytest.raises(Interrupted) as caught:
            train(path, settings, stop=StopAfter(point))
        assert caught.value.exit_code == 75 and str(path) in str(caught.value)
        result, run = train(path, settings, resume=True)
        assert_equal(outcome(result, run), expected)
        assert model(run) == expected_model
    assert num_questions > 8


def test_the_settings_reach_what_they_are_meant_to(tmp_path, light_models):
    """Otherwise the test above would prove less than it says."""
    rows = {}
    for name, settings in SETTINGS.items():
        result, run = train(tmp_path / name, settings)
        rows[name] = run.read_metrics()
    assert {row["stage"] for row in rows["soap"]} == {1, 2} and rows["soap"][1]["validation"] is None
    assert rows["plateau"][-1]["learning_rate"] < 0.6 * 0.9
    assert len(rows["early"]) - 1 < 12
    assert result.epochs == 4


def test_same_seed_same_bits_and_another_seed_not(tmp_path, light_models):
    settings = SETTINGS["soap"]
    first, second = (outcome(*train(tmp_path / name, settings)) for name in "ab")
    assert_equal(first, second)
    assert first["skeleton"] != ""
    other = outcome(*train(tmp_path / "c", config(seed=4, training={"epochs": 6, "batch_size": 2})))
    assert not torch.equal(other["weights"]["hidden"], first["weights"]["hidden"])


def test_interrupted_again_and_again(tmp_path, light_models):
    settings, path = SETTINGS["soap"], tmp_path / "often"
    expected = outcome(*train(tmp_path / "whole", settings))
    for attempt in range(100):
        try:
            result, run = train(path, settings, stop=StopAfter(attempt % 3), resume=attempt > 0)
            break
        except Interrupted:
            continue
    assert attempt > 5
    assert_equal(outcome(result, run), expected)


def test_killed_between_checkpoints_rewrites_the_same_rows(tmp_path, light_models, monkeypatch):
    """A kill loses what came after the checkpoint, while rows of later epochs are in the file already."""
    settings = SETTINGS["soap"]
    expected = outcome(*train(tmp_path / "whole", settings))
    path = tmp_path / "killed"
    with pytest.raises(Interrupted):
        train(path, settings, stop=StopAfter(6))
    kept = {file: file.read_bytes() for file in (path / "checkpoints").iterdir() if file.is_file()}
    train(path, settings, resume=True)
    for file in (path / "checkpoints").iterdir():
        if file.is_file() and file not in kept:
            file.unlink()
    for file, content in kept.items():
        file.write_bytes(content)
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 7, "ste')
    assert_equal(outcome(*train(path, settings, resume=True)), expected)


def test_resuming_a_finished_run_changes_nothing(tmp_path, light_models):
    settings = SETTINGS["plateau"]
    first = outcome(*train(tmp_path / "run", settings))
    assert_equal(outcome(*train(tmp_path / "run", settings, resume=True)), first)


def test_resume_before_the_first_checkpoint_starts_from_the_beginning(tmp_path, light_models):
    settings = SETTINGS["plateau"]
    expected = outcome(*train(tmp_path / "whole", settings))
    with RunDirectory(tmp_path / "run").create() as run:
        run.append_metrics({"epoch": 0, "step": 0})
    assert_equal(outcome(*train(tmp_path / "run", settings, resume=True)), expected)


def test_another_model_or_optimiser_is_refused(tmp_path, light_models):
    with pytest.raises(Interrupted):
        train(tmp_path / "run", SETTINGS["plateau"], stop=StopAfter(4))
    with pytest.raises(CheckpointError, match="another model"):
        train(tmp_path / "run", SETTINGS["plateau"], resume=True, make=lambda: PairPotential(width=7))
    with pytest.raises(CheckpointError, match="ema_decay"):
        train(tmp_path / "run", config(training={"ema_decay": None}), resume=True)


@pytest.mark.parametrize("architecture", ["nequip", "mace"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_real_potentials(tmp_path, architecture, dtype):
    def make():
        return real_potential(architecture, dtype=dtype, radial_hidden=(8,))

    settings = config(training={"epochs": 3, "batch_size": 2}, optimizer={"precondition_frequency": 3})
    data = datasets(4, 2)
    whole, whole_run = train(tmp_path / "whole", settings, data=data, make=make)
    expected = outcome(whole, whole_run)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", settings, stop=StopAfter(7), data=data, make=make)
    result, run = train(tmp_path / "run", settings, resume=True, data=data, make=make)
    assert_equal(outcome(result, run), expected)
    for name, value in load(run.model_path).state_dict().items():
        assert torch.equal(value, expected["weights"][name])


CHILD = """
    import sys
    from equipot.checkpoint import RunDirectory
    from equipot.errors import EquipotError
    from equipot.training import LineProgress, fit
    from tests.unit.training.systems import config, datasets, real_potential

    settings = config(training={"epochs": 40, "batch_size": 2})
    try:
        with RunDirectory(sys.argv[1]).create() as run:
            fit(real_potential(radial_hidden=(8,)), datasets(4, 2), settings, run, progress=LineProgress(sys.stdout))
    except EquipotError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


def test_sigterm_finishes_the_step_saves_and_exits_75(tmp_path):
    path = tmp_path / "run"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        for line in process.stdout:
            if line.startswith("epoch  2/40"):
                break
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - asked < 10
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 75, errors
    assert "SIGTERM" in errors and "--resume" in errors and "Traceback" not in errors
    run = RunDirectory(path)
    _, document = run.latest()
    assert 2 <= document["epoch"] < 40
    settings = config(training={"epochs": document["epoch"] + 1, "batch_size": 2})
    result, _ = train(path, settings, resume=True, data=datasets(4, 2), make=lambda: real_potential(radial_hidden=(8,)))
    assert result.epochs == document["epoch"] + 1


#: Changes of a checkpoint's tensors and state that carry a right hash, and what the complaint says.
MISFITS = [
    (lambda tensors, document: document.pop("state"), "KeyError"),
    (lambda tensors, document: document.update(state={"dict": []}), "version None"),
    (lambda tensors, document: document.update(state=3), "AttributeError"),
    (lambda tensors, document: tensors.pop("ema/average/hidden"), "does not fit its tensors"),
    (lambda tensors, document: tensors.update({"ema/average/hidden": tensors["ema/average/hidden"][:1]}), "hidden"),
    (lambda tensors, document: tensors["ema/average/hidden"].fill_(torch.nan), "NaN or infinity"),
    (lambda tensors, document: tensors["potential/hidden"].fill_(torch.inf), "hidden"),
    (lambda tensors, document: tensors.update({"potential/hidden": tensors["potential/hidden"].T}), "another model"),
    (lambda tensors, document: tensors.update({"best/weights/hidden": torch.zeros(2)}), "hidden"),
]


@pytest.mark.parametrize(("change", "part"), MISFITS, ids=[part for _, part in MISFITS])
def test_a_checkpoint_of_another_content_is_refused_by_name(tmp_path, light_models, change, part):
    """Found by fuzz_inputs.py: half of these ended in a traceback, the others did not name the file."""
    settings = config(training={"epochs": 2, "batch_size": 8})
    train(tmp_path, settings)
    run = RunDirectory(tmp_path)
    tensors, document = run.latest()
    step = document["step"]
    change(tensors, document)
    run.checkpoints.remove_all()
    run.checkpoints.save({name: tensor.contiguous() for name, tensor in tensors.items()}, document, step)
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path, settings, resume=True)
    assert part in str(caught.value) and f"checkpoints, step {step}" in str(caught.value)
    assert "\n" not in str(caught.value)
