"""A sample of tests/robustness/fuzz_inputs.py and tests/robustness/fault_table.py, and proof that both can fail."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from equipot.errors import DataError
from tests.robustness import fault_table, fuzz_inputs
from tests.robustness.faults import jobs, kinds, process
from tests.robustness.fuzzing import pool
from tests.robustness.fuzzing.group import DEFECT, REFUSED, SAME, Group, Wrong
from tests.robustness.fuzzing.kinds import ALL, prepare
from tests.robustness.fuzzing.table import markdown


def fuzz(groups: list[Group], number: int | None, folder: Path, seed: int = 0) -> list[pool.Outcome]:
    """Outcomes of so many files; None: of the full run."""
    outcomes: list[pool.Outcome] = []
    prepare(groups, folder / "seeds")
    pool.run(
        groups,
        fuzz_inputs.tasks(groups, number),
        seed=seed,
        folder=folder / "workers",
        processes=1,
        done=outcomes.append,
    )
    return outcomes


def assert_no_defects(outcomes: list[pool.Outcome]) -> None:
    defects = [outcome for outcome in outcomes if outcome.outcome == DEFECT]
    assert not defects, defects[:5]


def test_two_hundred_mutated_files(tmp_path):
    outcomes = fuzz(ALL, 200, tmp_path)
    assert_no_defects(outcomes)
    assert len(outcomes) >= 190 and {outcome.group for outcome in outcomes} == {group.name for group in ALL}
    counts = [sum(outcome.outcome == kind for outcome in outcomes) for kind in (SAME, REFUSED)]
    assert min(counts) >= 20  # both ways are really taken
    assert not list(tmp_path.rglob("*owned*"))


@pytest.mark.slow
def test_more_than_ten_thousand_mutated_files(tmp_path):
    outcomes = fuzz(ALL, None, tmp_path, seed=1)
    assert_no_defects(outcomes)
    assert len(outcomes) > 10_000


class Planted(Group):
    """What a defect of each kind looks like."""

    name, number = "planted", 9

    def make(self, rng: np.random.Generator, folder: Path) -> Path:
        (folder / "file.txt").write_text("x")
        return folder / "file.txt"

    def read(self, path: Path) -> str:
        number = int((path.parent.parent.parent / "number").read_text())
        (path.parent.parent.parent / "number").write_text(str(number + 1))
        if number == 0:
            return SAME
        if number == 1:
            raise DataError(f"{path}: is not read.")
        if number == 2:
            raise DataError("something is wrong.")
        if number == 3:
            raise KeyError("a")
        if number == 4:
            raise Wrong("1 became 2")
        if number == 5:
            while True:
                time.process_time()
        if number == 6:
            bytearray(10**9)
        if number == 7:
            faulthandler.disable()  # it is meant: no traceback of it
            os.kill(os.getpid(), signal.SIGSEGV)
        (path.parent / "owned").write_text("x")
        return SAME


def test_every_kind_of_defect_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "SECONDS", 0.3)
    (tmp_path / "number").write_text("0")
    outcomes: list[pool.Outcome] = []
    pool.run(
        [Planted()],
        [("planted", number) for number in range(9)],
        seed=0,
        folder=tmp_path / "workers",
        processes=1,
        done=outcomes.append,
    )
    assert [outcome.outcome for outcome in outcomes] == [SAME, REFUSED, *[DEFECT] * 7]
    assert [outcome.kind for outcome in outcomes[2:]] == [
        "message does not name the file",
        "raised KeyError",
        "other numbers",
        "timeout",
        "memory",
        "crash (signal 11)",
        "wrote beside or into the file",
    ]
    assert "| planted | 9 | 1 | 0 | 0 | 1 | 7 |" in markdown(outcomes, ["planted"])


@pytest.fixture(scope="module")
def predicting(tmp_path_factory):
    """The job ``equipot predict``, its seeds, its undisturbed result and how long that took."""
    folder = tmp_path_factory.mktemp("faults")
    folder.chmod(0o755)
    every, seeds = jobs.make_jobs(folder)
    job = next(job for job in every if job.name == "predict")
    whole = kinds.Try(job, seeds, folder / "whole", None, 0.0, np.random.default_rng(0))
    ending = whole.run().wait()
    assert ending.code == 0, ending.output
    return job, seeds, folder, job.result(folder / "whole"), ending.seconds, job.sizes(folder / "whole", seeds)


@pytest.mark.parametrize("fault", [name for name, (_, names, _) in fault_table.FAULTS.items() if "predict" in names])
def test_nothing_is_lost(predicting, fault):
    job, seeds, folder, reference, seconds, sizes = predicting
    if fault == "a full disk" and not kinds.can_mount():
        pytest.skip("a small disk can be mounted by root only")
    trial = kinds.Try(job, seeds, folder / "try", reference, seconds, np.random.default_rng(1), sizes)
    outcome, message = fault_table.FAULTS[fault][0](trial)
    assert outcome in (kinds.EQUAL, kinds.REFUSED), message


def test_a_half_written_file_another_result_and_a_traceback_are_defects(predicting, monkeypatch):
    job, seeds, folder, reference, seconds, _ = predicting
    trial = kinds.Try(job, seeds, folder / "try", reference + b"x", seconds, np.random.default_rng(1))
    assert trial.finish() == (kinds.DEFECT, "the end is another than that of the undisturbed run")
    (trial.folder / "predicted.xyz").write_text("8\nhalf of a frame\nCu 0 0 0\n")
    assert trial.finish()[1].startswith("half-written: predicted.xyz")
    ending = process.Ending(1, "Traceback (most recent call last):\nequipot: error: it broke.\n", 0.1)
    assert ending.complaint is None and trial.must_refuse(ending)
    assert fault_table.rows([kinds.Outcome("a full disk", "predict", 0, DEFECT)])[-1] == ("all", "", 1, 0, 0, 1)


@pytest.mark.slow
def test_training_is_killed_and_goes_on(tmp_path):
    every, seeds = jobs.make_jobs(tmp_path)
    job = every[0]
    whole = kinds.Try(job, seeds, tmp_path / "whole", None, 0.0, np.random.default_rng(0))
    seconds = whole.run().wait().seconds
    for number in range(5):
        trial = kinds.Try(
            job, seeds, tmp_path / "try", job.result(tmp_path / "whole"), seconds, np.random.default_rng(number)
        )
        assert kinds.killed(trial) == (kinds.EQUAL, "")
