"""Workers with limits: each reads one mutated file after the other; one that hangs or dies is named and replaced."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import time
import traceback
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from equipot.errors import EquipotError
from tests.robustness.fuzzing.group import DEFECT, REFUSED, Group, Wrong, complaint_about

#: CPU seconds and MB (of address space beyond what the worker has after its imports) for one file.
SECONDS, MEGABYTES = 5.0, 500
#: Wall seconds after which a worker that no longer answers is ended.
_HUNG = 60.0
_FORK = multiprocessing.get_context("fork")


class OutOfTime(BaseException):
    """The CPU time of a file is used up; no ``except Exception`` on the way may take it for an error of the file."""


@dataclass
class Outcome:
    """What became of one file: ``outcome`` is one of group.OUTCOMES, ``kind`` the error's class or the defect."""

    group: str
    number: int
    outcome: str
    kind: str = ""
    message: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def generator(seed: int, group: str, number: int) -> np.random.Generator:
    """The random numbers of one file: the same whatever ran before it."""
    return np.random.default_rng([seed, zlib.crc32(group.encode()), number])


def run_one(group: Group, number: int, seed: int, folder: Path) -> Outcome:
    """Make one file in an empty ``folder`` and read it, within the time limit; memory is the worker's to limit."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = group.make(generator(seed, group.name, number), folder)
    before, begin = _state(folder), time.process_time()
    old = os.getcwd()
    os.chdir(folder)
    try:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            outcome, kind, message = group.read(path), "", ""
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except OutOfTime:
        outcome, kind, message = DEFECT, "timeout", f"still reading after {SECONDS:g} s"
    except MemoryError as error:
        outcome, kind, message = DEFECT, "memory", _last_line(error)
    except EquipotError as error:
        fault = "ran out of memory" if _has_memory_error(error) else complaint_about(error, path)
        outcome, kind = (REFUSED, type(error).__name__) if fault is None else (DEFECT, f"message {fault}")
        message = str(error)
    except Wrong as error:
        outcome, kind, message = DEFECT, "other numbers", str(error)
    except BaseException as error:
        outcome, kind, message = DEFECT, f"raised {type(error).__name__}", _last_line(error)
    finally:
        os.chdir(old)
    if _state(folder) != before:
        outcome, kind, message = DEFECT, "wrote beside or into the file", ", ".join(os.listdir(folder))
    return Outcome(group.name, number, outcome, kind, message[:400], time.process_time() - begin)


def _last_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    ours = [frame for frame in frames if "/equipot/" in frame.filename]
    inside = f" from {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} at {place}{inside}"


def _has_memory_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _state(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): "" if path.is_dir() else hashlib.sha1(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
    }


def _memory(name: str) -> float:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name + ":"))


def _work(groups: dict[str, Group], seed: int, folder: Path, connection) -> None:
    def out_of_time(*_: object) -> None:
        raise OutOfTime

    signal.signal(signal.SIGPROF, out_of_time)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
    limit = int((_memory("VmSize") + MEGABYTES) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    peak = _memory("VmHWM")
    os.fsync = lambda descriptor: None  # nothing here has to outlive a loss of power
    parent = os.getppid()
    while True:
        while not connection.poll(5.0):
            if os.getppid() != parent:  # it was killed; its end of the pipe is open here too
                return
        task = connection.recv()
        outcome = run_one(groups[task[0]], task[1], seed, folder)
        outcome.megabytes, peak = max(0.0, _memory("VmHWM") - peak), max(peak, _memory("VmHWM"))
        connection.send(outcome)


class _Worker:
    def __init__(self, number: int, groups: dict[str, Group], seed: int, folder: Path) -> None:
        self._make = lambda: (groups, seed, folder / f"worker{number}")
        self.task: tuple[str, int] | None = None
        self.start()

    def start(self) -> None:
        self.connection, theirs = _FORK.Pipe()
        self.process = _FORK.Process(target=_work, args=(*self._make(), theirs), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, task: tuple[str, int]) -> None:
        self.task, self.since = task, time.monotonic()
        self.connection.send(task)

    def replace(self) -> str:
        """End the process and start another; says how the old one ended."""
        is_hung = self.process.is_alive()
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        self.connection.close()
        self.start()
        return "hung" if is_hung else f"crash (signal {-code})" if code and code < 0 else f"exit {code}"


def run(
    groups: Iterable[Group],
    tasks: Iterable[tuple[str, int]],
    *,
    seed: int,
    folder: Path,
    processes: int,
    done: Callable[[Outcome], None],
) -> None:
    """Run every task (group name, number) and hand each outcome to ``done``; groups must be prepared."""
    by_name = {group.name: group for group in groups}
    waiting = iter(tasks)
    workers = [_Worker(number, by_name, seed, folder) for number in range(processes)]

    def next_task(worker: _Worker) -> None:
        worker.task = next(waiting, None)
        if worker.task is not None:
            worker.give(worker.task)

    try:
        for worker in workers:
            next_task(worker)
        while busy := {worker.connection: worker for worker in workers if worker.task is not None}:
            ready = wait(list(busy), timeout=1.0)
            for connection in ready:
                worker = busy[connection]
                try:
                    done(connection.recv())
                except (EOFError, ConnectionError):
                    worker.process.join(5.0)
                    task = worker.task
                    done(Outcome(*task, DEFECT, worker.replace(), "the process that read it ended"))
                next_task(worker)
            for worker in busy.values():
                if worker.task is not None and time.monotonic() - worker.since > _HUNG:
                    task = worker.task
                    done(Outcome(*task, DEFECT, worker.replace(), f"no answer for {_HUNG:g} s"))
                    next_task(worker)
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()
