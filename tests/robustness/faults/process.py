"""A run of the program in a forked child: the imports are paid once, everything after them is the real thing."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from equipot.cli.main import main
from equipot.system.signals import SIGNALS

#: The user ``nobody``: root may write where nobody else may.
_NOBODY = 65534


@dataclass
class Ending:
    """How a run ended: its exit code (minus the signal where one ended it), what it said, seconds it took."""

    code: int
    output: str
    seconds: float

    @property
    def complaint(self) -> str | None:
        """The one sentence of an ``equipot: error``, None where there is none, several, or a traceback."""
        kinds = ("equipot: error: ", "equipot: stopped: ")
        lines = [line for line in self.output.splitlines() if line.startswith(kinds)]
        return lines[0] if len(lines) == 1 and "Traceback" not in self.output else None


class Run:
    """``equipot WORDS`` started in a folder.

    Args:
        words: the command line.
        folder: to start in.
        prepare: called in the child before it starts (limits, another clock, another user).
    """

    def __init__(self, words: list[str], folder: Path, prepare: Callable[[], None] | None = None) -> None:
        self._log = folder.parent / f".said-{time.monotonic_ns()}.log"
        self._begin = time.monotonic()
        handle = os.open(self._log, os.O_WRONLY | os.O_CREAT, 0o666)
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.dup2(handle, 1)
                os.dup2(handle, 2)
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                os.chdir(folder)
                for number in SIGNALS:
                    signal.signal(number, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                if prepare is not None:
                    prepare()
                code = main(words)
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(code)
        os.close(handle)

    def send(self, number: int, after: float) -> None:
        """Wait so many seconds, then send a signal (where the run has not ended by itself)."""
        time.sleep(max(0.0, after - (time.monotonic() - self._begin)))
        os.kill(self.pid, number)

    def wait(self, timeout: float = 300.0) -> Ending:
        """Wait for the end; a run that does not come to one is killed and its exit code is 124."""
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            seconds = time.monotonic() - self._begin
            if pid:
                break
            if seconds > timeout:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                status = 124 << 8
                break
            time.sleep(0.002)
        text = self._log.read_text(encoding="utf-8", errors="replace")
        self._log.unlink(missing_ok=True)
        return Ending(os.waitstatus_to_exitcode(status), text, seconds)


def small_files(most: int) -> None:
    """No file may grow beyond so many bytes: writes fail as on a full disk, with another name of the error."""
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def nobody() -> None:
    """Give up root's rights, which no permission stops."""
    if os.geteuid() == 0:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)


def clock_backwards() -> None:
    """Every look at the wall clock is an hour earlier than the one before."""
    begin, looks = time.time(), [0]

    def earlier() -> float:
        looks[0] += 1
        return begin - 3600.0 * looks[0]

    time.time = earlier
    real = time.gmtime, time.localtime
    time.gmtime = lambda seconds=None: real[0](earlier() if seconds is None else seconds)
    time.localtime = lambda seconds=None: real[1](earlier() if seconds is None else seconds)
