"""A forked process computes with one thread: OpenMP's other threads stayed in the parent and would be waited for."""

from __future__ import annotations

import logging
import os
import sys

_logger = logging.getLogger(__name__)
_state = {"is_registered": False, "had_threads": 0, "is_said": False}


def survive_forks() -> None:
    """Make every process forked from this one compute with one thread; may be called again.

    A fork copies the calling thread alone. The pool of threads that OpenMP made for the parent's first parallel region
    is not there in the child, whose first parallel region waits for it for ever.
    """
    if not _state["is_registered"] and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_the_pool)
        _state["is_registered"] = True


def is_bound() -> bool:
    """Return whether this process was forked from one with several threads, and computes with one for that reason."""
    return _state["had_threads"] > 1


def say_if_bound() -> None:
    """Warn, once in a process, that it was forked and computes with one thread."""
    if is_bound() and not _state["is_said"]:
        _state["is_said"] = True
        _logger.warning(
            "This process was forked from one with %d OpenMP threads and computes with one: the others do not exist "
            "here. Start processes with multiprocessing's 'spawn' to give each several threads.",
            _state["had_threads"],
        )


def _leave_the_pool() -> None:
    torch = sys.modules.get("torch")
    number = torch.get_num_threads() if torch is not None else 1
    if number > 1:
        _state["had_threads"] = number
        torch.set_num_threads(1)
