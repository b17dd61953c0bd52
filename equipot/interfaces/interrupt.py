"""Catch SIGTERM, SIGINT and SIGUSR1 so that a run can finish its step and save; the second signal ends it at once."""

from __future__ import annotations

import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """A context in which signals only raise a flag.

    Outside the main thread, where Python takes no signal handlers, it does nothing.

    Attributes:
        reason: name of the signal that came, empty while none has.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, _frame: object) -> None:
        if self.reason:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.reason = signal.Signals(number).name
