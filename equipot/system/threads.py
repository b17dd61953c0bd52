"""How many threads the program computes with: what was asked for, else the cores this process may use.

torch's own operations and the native kernels run on one OpenMP pool, and torch's number of threads counts for both.
Importing equipot never changes it; the verbs of the command line that compute set it when they start.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

from equipot.errors import UsageError
from equipot.system.cgroups import group_folders
from equipot.system.forking import is_bound, say_if_bound

VARIABLE = "EQUIPOT_THREADS"
#: Turns of an idle thread before it sleeps, about 1 µs a thousand; libgomp's own choice is 300 times as many.
SPIN_COUNT = 1000
#: Threads that may be asked for: this many for each CPU, but this many in any case.
LIMIT_PER_CPU, LEAST_LIMIT = 4, 64
_logger = logging.getLogger(__name__)


def limit_spinning() -> None:
    """Let idle OpenMP threads sleep soon, unless the environment says how they wait; before torch is loaded.

    libgomp's threads spin for milliseconds between two parallel regions. Where another program wants the core, the
    spinning thread keeps from running the very thread it waits for: on 2 cores with one competitor a region of 0.2 ms
    took 12 to 30 ms with 2 threads, and 0.5 to 0.8 ms with this limit; on idle cores the limit costs nothing.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


def num_threads(asked: int | None = None) -> int:
    """Return the number of threads to compute with.

    The first of: ``asked``, the environment variables ``EQUIPOT_THREADS`` and ``OMP_NUM_THREADS``, the cores this
    process may use.

    Raises:
        UsageError: ``asked`` or ``EQUIPOT_THREADS`` is not a whole number above zero.
    """
    for value, what in ((asked, "The number of threads"), (os.environ.get(VARIABLE) or None, VARIABLE)):
        if value is not None:
            number = _whole(value)
            if number is None:
                raise UsageError(f"{what} should be a whole number above zero, found {value!r}.")
            return clamp(number, what)
    # A list gives one number a level of nesting; what OpenMP itself would not understand it ignores.
    asked = _whole(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])
    return clamp(asked, "OMP_NUM_THREADS") if asked else available_cores()


def clamp(number: int, what: str) -> int:
    """Return a number of threads, or the cores of this process where no machine like this starts so many; it is said.

    OpenMP ends the process where the system has no more threads to give.
    """
    if number <= max(LEAST_LIMIT, LIMIT_PER_CPU * (os.cpu_count() or 1)):
        return number
    cores = available_cores()
    _logger.warning("%s is %d, far more than this machine has CPUs; threads used: %d.", what, number, cores)
    return cores


def limit_environment() -> None:
    """Clamp ``OMP_NUM_THREADS`` in the environment, before torch is loaded and OpenMP reads it."""
    first, comma, rest = os.environ.get("OMP_NUM_THREADS", "").partition(",")
    asked = _whole(first)
    if asked is not None:
        number = clamp(asked, "OMP_NUM_THREADS")
        if number != asked:
            os.environ["OMP_NUM_THREADS"] = f"{number}{comma}{rest}"


def set_threads(asked: int | None = None) -> int:
    """Give torch, and with it the native kernels, the number of threads that :func:`num_threads` says; return it.

    A process forked from one with several threads has one (see :mod:`equipot.system.forking`).
    """
    import torch

    number = num_threads(asked)
    if is_bound() and number > 1:
        say_if_bound()
        number = 1
    if number != torch.get_num_threads():
        torch.set_num_threads(number)
    return number


def available_cores() -> int:
    """Return how many cores this process may keep busy, by its CPU affinity and its container's quota.

    Hyperthreads of one core count once: the kernels fill a core's arithmetic units from one thread.
    """
    return max(1, math.floor(min(_cores_of(_allowed_cpus()), cpu_quota())))


def cpu_quota() -> float:
    """Return how many CPUs' worth of time the control groups of this process grant; infinity without a limit."""
    return min(map(_quota_of, group_folders("cpu")), default=math.inf)


def _whole(value: str | int) -> int | None:
    try:
        number = int(value)
    except ValueError:
        return None
    return number if number > 0 else None


def _allowed_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _cores_of(cpus: list[int]) -> int:
    cores = set()
    for cpu in cpus:
        topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology")
        try:
            cores.add(((topology / "physical_package_id").read_text(), (topology / "core_id").read_text()))
        except OSError:
            return len(cpus)
    return len(cores)


def _quota_of(folder: Path) -> float:
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):  # version 2 and 1 of control groups
        try:
            words = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # also the word "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf
