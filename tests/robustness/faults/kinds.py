"""The faults: each a try of one job, with what became of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from equipot.checkpoint import RunDirectory
from tests.robustness.faults.jobs import Job, are_equal
from tests.robustness.faults.process import Ending, Run, clock_backwards, nobody, small_files

#: Ends of a try.
EQUAL, REFUSED, DEFECT = "equal to the undisturbed run", "refused in words", "defect"
_MOST_TRIES = 12


@dataclass
class Outcome:
    """What became of a try."""

    fault: str
    job: str
    number: int
    outcome: str
    message: str = ""


class Try:
    """One try in a folder of its own.

    Args:
        job, seeds, folder: what is run, the files it reads, and where.
        reference: result of the undisturbed run.
        seconds: that it took.
        rng: for the instant of the fault.
        sizes: bytes of the files it wrote.
    """

    def __init__(
        self,
        job: Job,
        seeds: Path,
        folder: Path,
        reference: Any,
        seconds: float,
        rng: np.random.Generator,
        sizes: tuple[int, ...] = (1,),
    ) -> None:
        self.job, self.folder, self.reference, self.seconds, self.rng = job, folder, reference, seconds, rng
        self.sizes = sizes
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(seeds, folder)

    def run(self, *more: str, prepare: Callable[[], None] | None = None, folder: Path | None = None) -> Run:
        return Run([*self.job.words, *more], folder or self.folder, prepare)

    def finish(self, *, folder: Path | None = None) -> tuple[str, str]:
        """Go on, or begin again where there is nothing to go on with, and compare with the undisturbed run."""
        folder = folder or self.folder
        bad = self.job.half_written(folder)
        if bad:
            return DEFECT, f"half-written: {'; '.join(bad)}"
        ending = self.run(*self.job.again, folder=folder).wait()
        if ending.code == 2 and ending.complaint and "run" in ending.complaint:  # stopped before there was a run
            ending = self.run("--overwrite", folder=folder).wait()
        if ending.code != 0:
            return DEFECT, f"cannot be gone on with: exit {ending.code}: {ending.output[-300:]}"
        if not are_equal(self.job.result(folder), self.reference):
            return DEFECT, "the end is another than that of the undisturbed run"
        rest = self.job.left_over(folder)
        return (DEFECT, f"left over: {', '.join(rest)}") if rest else (EQUAL, "")

    def must_refuse(self, ending: Ending) -> str | None:
        """What is wrong with an ending that must be one sentence and exit code 1 or 2; None where nothing is."""
        if ending.code in (1, 2) and ending.complaint:
            return None
        return f"exit {ending.code}: {ending.output[-300:]}"


def killed(trial: Try) -> tuple[str, str]:
    """kill -9 at a random instant, again while it goes on, until it got through or was killed often enough."""
    more: list[str] = []
    for _ in range(int(trial.rng.integers(1, 4))):
        run = trial.run(*more)
        run.send(signal.SIGKILL, float(trial.rng.uniform(0.0, 1.05 * trial.seconds)))
        run.wait()
        bad = trial.job.half_written(trial.folder)
        if bad:
            return DEFECT, f"half-written: {'; '.join(bad)}"
        has_run = trial.job.name != "train" or (trial.folder / "run" / "splits.json").exists()
        more = trial.job.again if has_run else ["--overwrite"]
    return trial.finish()


def terminated(trial: Try) -> tuple[str, str]:
    """SIGTERM at a random instant: a job that can be resumed saves and says so."""
    run = trial.run()
    run.send(signal.SIGTERM, float(trial.rng.uniform(0.0, trial.seconds)))
    ending = run.wait()
    good = (0, 75, -signal.SIGTERM, 143)  # the last two before there is anything to save
    if ending.code not in good or "Traceback" in ending.output:
        return DEFECT, f"exit {ending.code}: {ending.output[-300:]}"
    return trial.finish()


def full_disk(trial: Try) -> tuple[str, str]:
    """A disk with room for a random part of what is written: one sentence, nothing half-written; then room again."""
    pages = sum(size // 4096 + 1 for size in trial.sizes)
    with _small_disk(trial.folder, int(trial.rng.integers(0, max(1, pages)))) as disk:
        ending = trial.run(folder=disk).wait()
        if ending.code == 0 and "No space left" not in ending.output:  # a report that cannot be written is a warning
            return DEFECT, "the disk was large enough: this try proves nothing"
        problem = trial.must_refuse(ending) if ending.code != 0 else None
        if problem:
            return DEFECT, problem
        bad = trial.job.half_written(disk)
        if bad:
            return DEFECT, f"half-written: {'; '.join(bad)}"
        is_mount = os.path.ismount(disk)
        if is_mount:
            subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        return trial.finish(folder=disk)


@contextlib.contextmanager
def _small_disk(folder: Path, pages: int) -> Iterator[Path]:
    """A tmpfs with the files of ``folder`` and room for so many pages of 4 kB; needs root."""
    disk = Path(tempfile.mkdtemp(prefix="disk-", dir=folder.parent))
    size = pages + sum(path.stat().st_size // 4096 + 1 for path in folder.rglob("*") if path.is_file())
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * size}k", "tmpfs", str(disk)], check=True)
    try:
        shutil.copytree(folder, disk, dirs_exist_ok=True)
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        with contextlib.suppress(OSError):
            disk.rmdir()


def can_mount() -> bool:
    """Whether a tmpfs can be made (root with the right to mount)."""
    return (
        os.geteuid() == 0
        and subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    )


def no_room_in_files(trial: Try) -> tuple[str, str]:
    """No file may become half as large as the largest: one sentence, nothing half-written; then room again."""
    ending = trial.run(prepare=partial(small_files, max(trial.sizes) // 2)).wait()
    if ending.code == 0 and "File too large" not in ending.output:
        return DEFECT, "no file was large enough: this try proves nothing"
    problem = trial.must_refuse(ending) if ending.code != 0 else None
    return (DEFECT, problem) if problem else trial.finish()


def read_only(trial: Try) -> tuple[str, str]:
    """A folder that may not be written into: one sentence, nothing changed."""
    for path in (trial.folder, *trial.folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path.name for path in trial.folder.iterdir())
    ending = trial.run(prepare=nobody).wait()
    for path in (trial.folder, *trial.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    problem = trial.must_refuse(ending)
    if problem:
        return DEFECT, problem
    after = sorted(path.name for path in trial.folder.iterdir())
    return (REFUSED, ending.complaint) if before == after else (DEFECT, f"wrote {set(after) - set(before)}")


def backwards(trial: Try) -> tuple[str, str]:
    """The wall clock runs backwards, and the run is stopped once."""
    run = trial.run(prepare=clock_backwards)
    run.send(signal.SIGTERM, float(trial.rng.uniform(0.3, 1.0)) * trial.seconds)
    ending = run.wait()
    if ending.code not in (0, 75, -signal.SIGTERM, 143) or "Traceback" in ending.output:
        return DEFECT, f"exit {ending.code}: {ending.output[-300:]}"
    return trial.finish()


def damaged_checkpoint(trial: Try) -> tuple[str, str]:
    """Stopped, then something happens to its newest checkpoint (or all): gone, cut, a bit flipped."""
    run = trial.run()
    run.send(signal.SIGTERM, float(trial.rng.uniform(0.4, 0.95)) * trial.seconds)
    run.wait()
    is_train = trial.job.name == "train"
    files = (
        [checkpoint.path for checkpoint in RunDirectory(trial.folder / "run").checkpoints.complete()]
        if is_train
        else [path for path in trial.folder.glob("*.restart")]
    )
    is_all = not is_train or trial.rng.random() < 0.4
    for path in files if is_all else files[:1]:
        kind, content = int(trial.rng.integers(3)), bytearray(path.read_bytes())
        if kind == 0:
            path.unlink()
        elif kind == 1:
            path.write_bytes(content[: int(trial.rng.integers(len(content)))])
        else:
            content[int(trial.rng.integers(len(content)))] ^= 1 << int(trial.rng.integers(8))
            path.write_bytes(content)
    ending = trial.run(*trial.job.again).wait()
    if ending.code == 0 and are_equal(trial.job.result(trial.folder), trial.reference):
        return EQUAL, ""
    problem = trial.must_refuse(ending)
    if problem or (files and not is_all and len(files) > 1):
        return DEFECT, problem or f"not gone on with from the older checkpoint: {ending.complaint}"
    return REFUSED, ending.complaint


def two_at_once(trial: Try) -> tuple[str, str]:
    """A second run in the same folder while the first is at work: it is refused, the first ends as if alone."""
    first = trial.run()
    lock = trial.folder / "run" / ".lock"
    while not lock.exists() and os.waitpid(first.pid, os.WNOHANG) == (0, 0):
        pass
    more = [[], ["--resume"], ["--overwrite"]][int(trial.rng.integers(3))]
    second = trial.run(*more).wait()
    ending = first.wait()
    problem = trial.must_refuse(second)
    if problem:
        return DEFECT, f"the second run: {problem}"
    if ending.code != 0 or not are_equal(trial.job.result(trial.folder), trial.reference):
        return DEFECT, f"the first run: exit {ending.code}: {ending.output[-300:]}"
    return EQUAL, ""


#: Fault -> (function, jobs it is for, share of the tries).
FAULTS: dict[str, tuple[Callable[[Try], tuple[str, str]], tuple[str, ...], float]] = {
    "kill -9 at random instants": (killed, ("train", "md", "md, binary", "check", "convert", "predict"), 1.0),
    "SIGTERM at a random instant": (terminated, ("train", "md", "md, binary"), 0.5),
    "a full disk": (full_disk, ("train", "md", "check", "convert", "predict"), 0.3),
    "a limit on the size of files": (no_room_in_files, ("train", "md", "check", "convert", "predict"), 0.06),
    "a folder without permission": (read_only, ("train", "md", "check", "convert", "predict"), 0.06),
    "a clock that runs backwards": (backwards, ("train", "md"), 0.1),
    "a lost or damaged checkpoint": (damaged_checkpoint, ("train", "md"), 0.4),
    "two runs in one folder": (two_at_once, ("train",), 0.2),
}
