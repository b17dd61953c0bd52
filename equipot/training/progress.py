"""What a person sees of a running job: a bar with the time left on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from typing import Protocol, TextIO


class Progress(Protocol):
    """How :func:`equipot.training.fit` tells where it is."""

    def begin(self, epochs: int, done: float) -> None:
        """The run starts; ``done`` epochs (also a part of one) were done before."""

    def advance(self, done: float, text: str) -> None:
        """``done`` epochs are done; ``text`` is a few words on the present step."""

    def report(self, line: str) -> None:
        """A line worth keeping on the screen."""

    def end(self) -> None:
        """The run is over, however it ended."""


class NoProgress:
    """Shows nothing: for use from a script, which has the log."""

    def begin(self, epochs: int, done: float) -> None: ...
    def advance(self, done: float, text: str) -> None: ...
    def report(self, line: str) -> None: ...
    def end(self) -> None: ...


class LineProgress(NoProgress):
    """Plain lines to a stream: for files, pipes and batch systems."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream

    def report(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class BarProgress:
    """A bar at the bottom of a terminal with the lines scrolling above it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}"),
            console=Console(file=sys.stderr if stream is None else stream, highlight=False),
            transient=True,
            refresh_per_second=4,
            speed_estimate_period=120,
        )
        self._task = None
        self._epochs = 0

    def begin(self, epochs: int, done: float) -> None:
        self._epochs = epochs
        self._task = self._bar.add_task("", total=epochs, completed=done, text="", epoch=self._epoch(done))
        self._bar.start()

    def advance(self, done: float, text: str) -> None:
        self._bar.update(self._task, completed=done, text=text, epoch=self._epoch(done))

    def report(self, line: str) -> None:
        self._bar.console.print(line, markup=False, soft_wrap=True)

    def end(self) -> None:
        self._bar.stop()

    def _epoch(self, done: float) -> str:
        return f"epoch {min(int(done) + 1, self._epochs)}/{self._epochs}"


def make_progress(stream: TextIO | None = None) -> Progress:
    """A bar where ``stream`` (default: standard error) is a terminal, else plain lines."""
    stream = sys.stderr if stream is None else stream
    return BarProgress(stream) if stream.isatty() else LineProgress(stream)
