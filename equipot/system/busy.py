"""Whether other programs take the processors away from what is being measured."""

from __future__ import annotations

import os
import time
from types import TracebackType

#: Share of the wall time that a computing thread gets on a quiet machine at least.
_LEAST_SHARE = 0.9
#: Running processes per CPU above which the machine is called busy.
_MOST_LOAD = 1.3


def load_average() -> float | None:
    """Processes that wanted to run in the last minute, where the system counts them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def load_sentence(load: float | None, num_cpus: int | None) -> str | None:
    """Say that more processes want to run than there are CPUs; None: they do not, or it is not known."""
    if load is None or not num_cpus or load <= _MOST_LOAD * num_cpus:
        return None
    return f"load {load:.1f} on {num_cpus} CPUs"


class CpuShare:
    """Measures, as a context, how much of the wall time this process computed.

    Attributes:
        wall, cpu: seconds in all blocks so far.
    """

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> CpuShare:
        self._begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.wall += time.perf_counter() - self._begin[0]
        self.cpu += time.process_time() - self._begin[1]

    def sentence(self) -> str | None:
        """Say that one computing thread was kept waiting; None: it was not, or nothing was measured."""
        if self.wall <= 0.0 or self.cpu / self.wall >= _LEAST_SHARE:
            return None
        return f"a thread that computes all the time got {100 * self.cpu / self.wall:.0f} % of a core"
