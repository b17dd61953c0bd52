"""A run folder never loses its last good checkpoint, is never written by two, and is not led outside itself."""

from __future__ import annotations

import itertools
import json
import logging
import multiprocessing
import os
import random
import shutil
import time
from pathlib import Path

import pytest
import torch

import equipot
from equipot.checkpoint import RunDirectory, atomic, manifest
from equipot.errors import CheckpointError, UsageError

#: Forking is quick; what the child does needs no thread of the parent.
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path / "runs" / "a").create() as run:
        yield run


def save(run: RunDirectory, step: int) -> Path:
    return run.save_checkpoint({"a": torch.full((1000,), float(step))}, {"epoch": step // 10}, step)


def names(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in run.checkpoints.folder.iterdir())


def newest(run: RunDirectory) -> int:
    tensors, document = run.latest()
    assert torch.equal(tensors["a"], torch.full_like(tensors["a"], document["step"]))
    return document["step"]


def test_save_and_load(run):
    assert run.latest() is None
    save(run, 12)
    tensors, document = run.latest()
    assert document == {"epoch": 1, "step": 12} and torch.equal(tensors["a"], torch.full((1000,), 12.0))
    manifest = json.loads((run.checkpoints.folder / "step-00000012.json").read_text())
    assert manifest["file"] == "step-00000012.safetensors" and manifest["step"] == 12 and manifest["epoch"] == 1
    assert len(manifest["sha256"]) == 64 and manifest["size"] > 4000 and manifest["time"].endswith("Z")


def test_pruning_keeps_the_newest(tmp_path):
    run = RunDirectory(tmp_path / "a", keep_checkpoints=3).create()
    for step in (1, 5, 20, 100, 123456789):
        save(run, step)
    assert names(run) == [f"step-{step:08d}.{end}" for step in (20, 100, 123456789) for end in ("json", "safetensors")]
    assert newest(run) == 123456789


def test_same_step_twice_overwrites_nothing(tmp_path):
    run = RunDirectory(tmp_path / "a", keep_checkpoints=1).create()
    save(run, 7)
    run.save_checkpoint({"a": torch.full((3,), 7.0), "b": torch.ones(1)}, {}, 7)
    assert "b" in run.latest()[0] and names(run) == ["step-00000007-1.json", "step-00000007-1.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "bit", "gone", "manifest", "manifest gone", "other sha256", "empty"])
def test_falls_back_to_the_older_one(run, caplog, damage):
    save(run, 1)
    path = save(run, 2)
    manifest = path.with_suffix(".json")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "bit":
        content[-5] ^= 4
        path.write_bytes(content)
    elif damage == "gone":
        path.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:30])
    elif damage == "manifest gone":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text().replace('"sha256": "', '"sha256": "0'))
    with caplog.at_level(logging.WARNING):
        assert newest(run) == 1
    assert ("step 2 is passed over" in caplog.text) == (damage != "manifest gone")


def test_all_damaged_is_an_error(run):
    for step in (1, 2):
        save(run, step).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints can be used"):
        run.latest()


@pytest.mark.parametrize(
    "name",
    ["../outside.safetensors", "/etc/passwd", "step-00000001.safetensors", 3, None, "x/../step-00000002.safetensors"],
)
def test_manifest_that_points_elsewhere(run, name):
    save(run, 1)
    manifest = save(run, 2).with_suffix(".json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "file": name}))
    assert newest(run) == 1


def test_manifest_of_another_step_or_version(run):
    save(run, 1)
    manifest = save(run, 2).with_suffix(".json")
    for change in ({"step": 9}, {"format_version": 2}, {"format": "x"}):
        original = manifest.read_text()
        manifest.write_text(json.dumps({**json.loads(original), **change}))
        assert newest(run) == 1
        manifest.write_text(original)
    assert newest(run) == 2


def test_links_are_not_followed(run, tmp_path):
    save(run, 1)
    path = save(run, 2)
    outside = tmp_path / "outside.safetensors"
    path.rename(outside)
    path.symlink_to(outside)
    assert newest(run) == 1
    manifest = path.with_suffix(".json")
    path.unlink()
    outside.rename(path)
    assert newest(run) == 2
    manifest.rename(tmp_path / "m.json")
    manifest.symlink_to(tmp_path / "m.json")
    assert newest(run) == 1


@pytest.mark.parametrize("name", ["metrics.jsonl", "model.eqp", "checkpoints", "plots", "config.yaml"])
def test_resume_refuses_a_folder_with_links(tmp_path, name):
    folder, target = tmp_path / "a", tmp_path / "victim"
    folder.mkdir()
    (folder / "run.log").write_text("x")
    if name in ("checkpoints", "plots"):
        target.mkdir()
    else:
        target.write_text("precious")
    (folder / name).symlink_to(target)
    with pytest.raises(CheckpointError, match="is a link"):
        RunDirectory(folder).resume()


def test_disk_full_leaves_the_old_one(run, monkeypatch):
    save(run, 1)
    real = atomic.os.replace
    for failing in ("safetensors", "json"):

        def replace(source, target, failing=failing):
            if str(target).endswith(failing):
                raise OSError(28, "No space left on device")
            real(source, target)

        monkeypatch.setattr(atomic.os, "replace", replace)
        with pytest.raises(CheckpointError, match="No space left on device"):
            save(run, 2)
        assert newest(run) == 1
        assert names(run) == ["step-00000001.json", "step-00000001.safetensors"]


def test_writer_that_fails_half_way(run, monkeypatch):
    save(run, 1)
    real = os.fdopen

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fdopen", lambda *args: Full(real(*args)))
    with pytest.raises(CheckpointError, match="No space left on device"):
        save(run, 2)
    assert newest(run) == 1 and len(names(run)) == 2


def write_for_ever(folder: Path, ready) -> None:
    """Go on with the run in ``folder``, saving step after step, each tensor filled with its step."""
    torch.set_num_threads(1)
    run = RunDirectory(folder).resume()
    latest = run.latest()
    first = latest[1]["step"] + 1 if latest else 1
    run.drop_metrics_after(first - 1)
    ready.set()
    for step in itertools.count(first):
        run.append_metrics({"step": step})
        run.save_checkpoint({"a": torch.full((20_000,), float(step)), "b": torch.tensor(step)}, {}, step)


@pytest.mark.parametrize("num_kills", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_9_at_random_instants(tmp_path, num_kills):
    """After each kill the newest complete checkpoint loads, whole, and is no older than the one before."""
    folder, generator, last = tmp_path / "a", random.Random(num_kills), 0
    with RunDirectory(folder).create() as run:
        run.write_config("name: a\n")
    for _ in range(num_kills):
        ready = FORK.Event()
        process = FORK.Process(target=write_for_ever, args=(folder, ready))
        process.start()
        assert ready.wait(60)
        time.sleep(generator.uniform(0.0, 0.1))
        process.kill()
        process.join()
        run = RunDirectory(folder)
        step = newest(run) if run.latest() else 0
        assert step >= last
        last = step
    assert last > 0
    with run.resume():
        run.drop_metrics_after(last)
        assert [row["step"] for row in run.read_metrics()] == list(range(1, last + 1))
        assert not [name for name in os.listdir(folder) + names(run) if name.endswith(".tmp")]


def test_metrics(run):
    for step in range(1, 5):
        run.append_metrics({"step": step, "loss": float("nan") if step == 3 else torch.tensor(0.5), "t": (1, 2)})
    assert run.read_metrics()[2] == {"step": 3, "loss": None, "t": [1, 2]}
    assert run.read_metrics()[0]["loss"] == 0.5
    with run.metrics_path.open("a") as file:
        file.write('{"step": 5, "lo')
    assert len(run.read_metrics()) == 4
    run.drop_metrics_after(2)
    run.append_metrics({"step": 3})
    assert [row["step"] for row in run.read_metrics()] == [1, 2, 3]
    run.drop_metrics_after(0)
    assert run.read_metrics() == []


def test_damaged_row_is_named(run):
    run.metrics_path.write_text('{"step": 1}\nrubbish\n{"step": 2}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2: not a row"):
        run.read_metrics()


def test_an_existing_run_is_not_overwritten(run):
    save(run, 1)
    run.write_config("name: a\n")
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        RunDirectory(run.path).create()
    (run.path / "notes.txt").write_text("mine")
    (run.plots / "parity.png").write_bytes(b"")
    RunDirectory(run.path).create(overwrite=True)
    assert sorted(os.listdir(run.path)) == [".lock", "notes.txt", "plots"]
    assert (run.path / "notes.txt").read_text() == "mine" and os.listdir(run.plots) == []


def test_a_folder_with_other_files_may_become_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert not RunDirectory(tmp_path).create().exists
    with pytest.raises(CheckpointError, match="is a file"):
        RunDirectory(tmp_path / "notes.txt").create()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no run to resume"):
        RunDirectory(tmp_path / "a").resume()
    assert not (tmp_path / "a").exists()


def test_resume_clears_what_a_killed_process_left(run):
    save(run, 1)
    folder = run.checkpoints.folder
    (folder / "step-00000002.safetensors").write_bytes(b"half")
    (folder / ".step-00000003.safetensors.1-ab.tmp").write_bytes(b"half")
    (run.path / ".model.eqp.1-ab.tmp").write_bytes(b"half")
    RunDirectory(run.path).resume()
    assert names(run) == ["step-00000001.json", "step-00000001.safetensors"]
    assert not list(run.path.glob(".model*"))


def try_to_write(folder: Path, answers) -> None:
    for call in (lambda run: run.resume(), lambda run: run.create(overwrite=True)):
        try:
            call(RunDirectory(folder))
            answers.put("no error")
        except CheckpointError as error:
            answers.put(str(error))


def test_two_processes_do_not_write_one_run(run):
    run.write_config("name: a\n")
    for expected in (f"process {os.getpid()} on", "no error"):
        answers = FORK.SimpleQueue()
        process = FORK.Process(target=try_to_write, args=(run.path, answers))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        for _ in range(2):
            answer = answers.get()
            assert expected in answer and ("is writing this run folder" in answer or expected == "no error")
        assert run.config_path.exists() == (expected != "no error")
        run.close()


def test_unfinished_row_is_cut_off_on_resuming(run):
    run.append_metrics({"step": 1})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 2, "lo')
    run.resume().append_metrics({"step": 2})
    assert run.read_metrics() == [{"step": 1}, {"step": 2}]


def test_other_files(run):
    run.write_splits({"train": [1, 2]})
    run.write_summary({"loss": float("inf"), "n": 3})
    assert json.loads(run.splits_path.read_text()) == {"train": [1, 2]}
    assert json.loads(run.summary_path.read_text()) == {"loss": None, "n": 3}


@pytest.mark.parametrize("part", ["tensor_file.write", "write_json", "_sha256"])
def test_a_folder_that_is_removed_during_a_save_is_made_again(run, part, monkeypatch, caplog):
    save(run, 1)
    owner, _, name = part.rpartition(".")
    target = getattr(manifest, owner) if owner else manifest
    original, calls = getattr(target, name), []

    def removing(*arguments):
        if not calls:
            shutil.rmtree(run.checkpoints.folder)
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(target, name, removing)
    save(run, 2)
    monkeypatch.undo()
    assert newest(run) == 2 and "was removed while a checkpoint was written" in caplog.text


def test_a_resume_under_another_version_is_said(run, caplog):
    path = save(run, 3).with_suffix(".json")
    assert newest(run) == 3 and caplog.text == ""
    document = json.loads(path.read_text())
    for change, words in (
        ({"equipot": "0.0.9"}, f"equipot 0.0.9 (now {equipot.__version__})"),
        ({"torch": "1.0"}, "torch 1.0 (now"),
    ):
        path.write_text(json.dumps(document | change))
        caplog.clear()
        assert newest(run) == 3 and words in caplog.text
    del document["equipot"], document["torch"]  # of an earlier version
    path.write_text(json.dumps(document))
    caplog.clear()
    assert newest(run) == 3 and "of a version that did not say" in caplog.text


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["plots", "checkpoints"])
def test_a_new_run_is_not_led_outside_its_folder(tmp_path, name: str, overwrite: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "figure.png").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(outside)
    with pytest.raises((CheckpointError, UsageError)):
        RunDirectory(tmp_path / "run").create(overwrite=overwrite)
    assert [path.name for path in outside.iterdir()] == ["figure.png"]
