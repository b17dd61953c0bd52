"""Stop on request: SIGTERM, SIGINT and SIGUSR1 set a flag the loop reads; a second signal ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


class StopRequest:
    """Whether somebody asked the run to stop. Calling it gives the answer.

    Attributes:
        signal_name: e.g. ``SIGTERM``, or None.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __call__(self) -> bool:
        return self.signal_name is not None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Catch the signals for the time of the ``with`` block; the handlers that were there before come back after it.

    The handler does nothing but set a flag: the step in hand is finished and the state saved by the code that reads it.
    The second signal has its default effect, which ends the process at once. Outside the main thread Python cannot
    catch signals, and nothing is caught.
    """
    request, owner = StopRequest(), os.getpid()

    def handle(number: int, frame: object) -> None:
        if request() or os.getpid() != owner:  # a forked data loader's worker must die when its parent says so
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            request.signal_name = signal.Signals(number).name

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            # None: the handler was not set from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
