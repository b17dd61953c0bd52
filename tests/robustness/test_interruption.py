"""A real `equipot train` process: stopped by a signal it saves and exits with 75, and --resume ends as if unbroken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from equipot.checkpoint import load_model

COMMAND = [sys.executable, "-m", "equipot"]
SETTINGS = ["training.epochs=40", "training.batch_size=8", "properties=[]", "physics_check=off"]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=_environment(), capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def folder(tmp_path, workplace) -> Path:
    for name in ("frames.xyz", "run.yaml"):
        (tmp_path / name).write_bytes((workplace / name).read_bytes())
    return tmp_path


def _start_and_stop(folder: Path, number: int) -> tuple[int, str]:
    process = subprocess.Popen(
        [*COMMAND, "train", "run.yaml", *SETTINGS],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    rows, end = folder / "runs" / "tiny" / "metrics.jsonl", time.monotonic() + 120
    try:
        while not (rows.exists() and rows.read_text().count("\n") >= 4):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "no epoch within two minutes"
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, errors


def test_sigterm_saves_and_resume_finishes(folder):
    code, errors = _start_and_stop(folder, signal.SIGTERM)
    assert code == 75, errors
    assert "Traceback" not in errors and "--resume" in errors and "SIGTERM" in errors
    done = (folder / "runs" / "tiny" / "metrics.jsonl").read_text().count("\n")
    assert done < 41, "the run was over before the signal came"

    resumed = _run(folder, "train", "run.yaml", *SETTINGS, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resumed after" in resumed.stderr and "meV/atom" in resumed.stdout
    for name in ("summary.json", "report.html", "model.eqp", "plots/learning_curve.png"):
        assert (folder / "runs" / "tiny" / name).exists()


@pytest.mark.slow
def test_a_stopped_and_resumed_run_equals_an_unbroken_one(folder):
    code, errors = _start_and_stop(folder, signal.SIGUSR1)
    assert code == 75, errors
    assert _run(folder, "train", "run.yaml", *SETTINGS, "--resume").returncode == 0
    unbroken = _run(folder, "train", "run.yaml", *SETTINGS, "name=unbroken")
    assert unbroken.returncode == 0, unbroken.stderr
    first, second = (load_model(folder / "runs" / name / "model.eqp").state_dict() for name in ("tiny", "unbroken"))
    for name, tensor in second.items():
        assert np.array_equal(first[name].numpy(), tensor.numpy()), name


@pytest.mark.slow
def test_ctrl_c_saves_too(folder):
    code, errors = _start_and_stop(folder, signal.SIGINT)
    assert code == 75 and "Traceback" not in errors, errors


@pytest.mark.slow
def test_ctrl_c_before_training_is_130(folder):
    process = subprocess.Popen(
        [*COMMAND, "train", "run.yaml"],
        cwd=folder,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    maps, deadline = Path(f"/proc/{process.pid}/maps"), time.monotonic() + 60
    while "libtorch" not in maps.read_text():  # the program itself is running, and importing torch takes a while yet
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and not (folder / "runs").exists()
