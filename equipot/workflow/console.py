"""Where the lines of a run go: people's terminal, and the log in the run folder."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from equipot.report.tables import Table, plain_text, print_table

logger = logging.getLogger("equipot.workflow")

#: Called with (what, done, total); a total of 0 is not known.
Progress = Callable[[str, int, int], None]


class Console:
    """Prints lines and tables (unless quiet) and logs them, remembering those from before the log was there.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._early: list[str] | None = []

    def line(self, text: str) -> None:
        """Print and log a line."""
        if not self._quiet:
            print(text, flush=True)
        if text.strip():
            self._log(text.strip("\n"))

    def warning(self, text: str) -> None:
        """Print a warning to standard error and log it."""
        if not self._quiet:
            sys.stdout.flush()
            print(f"equipot: warning: {text}", file=sys.stderr, flush=True)
        self._log(f"warning: {text}")

    def table(self, table: Table) -> None:
        """Print and log a table."""
        if not self._quiet:
            print_table(table)
        self._log(plain_text(table))

    def _log(self, text: str) -> None:
        if self._early is None:
            logger.info(text)
        else:
            self._early.append(text)

    @contextlib.contextmanager
    def progress(self, title: str = "") -> Iterator[Progress]:
        """Show where a longer job is: a bar on a terminal, otherwise nothing but, with a title, one line.

        Args:
            title: stands before what is being done.

        Yields:
            A function to call with (what, done, total); a total of 0 is not known.
        """
        if self._quiet or not sys.stderr.isatty():
            if title:
                self.line(f"{title} ...")
            yield lambda what, done, total: None
            return
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Terminal(file=sys.stderr), transient=True) as bar:
            task = bar.add_task(title, total=None, count="")

            def show(what: str, done: int, total: int) -> None:
                description = f"{title}: {what}" if title else what
                count = f"{done}/{total}" if total else ""
                bar.update(task, description=description, completed=done, total=total or None, count=count)

            yield show

    @contextlib.contextmanager
    def log_to(self, path: Path) -> Iterator[None]:
        """Write the package's log to a file for the time of the block, beginning with what was said before."""
        package = logging.getLogger("equipot")
        level = package.level
        handler = logging.FileHandler(path, encoding="utf-8", delay=False)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        package.addHandler(handler)
        # The file gets everything; what else listens (a terminal, the caller's own handlers) keeps its level.
        others = [(other, other.level) for other in package.handlers if other is not handler]
        for other, _ in others:
            other.setLevel(max(other.level, package.getEffectiveLevel()))
        forward = None
        if package.propagate and (logging.root.handlers or not others):
            forward = _ForwardToRoot(package.getEffectiveLevel())
            package.addHandler(forward)
        package.setLevel(logging.DEBUG)
        propagate, package.propagate = package.propagate, False
        try:
            early, self._early = self._early or [], None
            for text in early:
                logger.info(text)
            yield
        finally:
            self._early = []
            package.propagate = propagate
            package.setLevel(level)
            for other, old in others:
                other.setLevel(old)
            for added in filter(None, (handler, forward)):
                package.removeHandler(added)
                added.close()


class _ForwardToRoot(logging.Handler):
    """Passes records on to the handlers of the root logger, as propagation would at the level there was before."""

    def emit(self, record: logging.LogRecord) -> None:
        logging.root.callHandlers(record)
