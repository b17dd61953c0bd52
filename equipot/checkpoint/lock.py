"""A lock on a folder that lives as long as the process, so that two processes never write the same run."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from equipot.errors import CheckpointError
from equipot.system.claims import is_same_file, owner_of, sign

_logger = logging.getLogger(__name__)
_NAME = ".lock"
#: Open lock files by process and folder: a second RunDirectory of the process on the same folder shares the lock, a
#: forked child does not.
_held: dict[tuple[int, Path], int] = {}


def acquire(folder: Path) -> None:
    """Take the lock of ``folder`` for this process, or keep it when the process has it.

    The kernel releases it when the process ends, however it ends.

    Raises:
        CheckpointError: another process holds it; the message says which.
    """
    key = (os.getpid(), folder.resolve())
    path = key[1] / _NAME
    if key in _held:
        if is_same_file(_held[key], path):
            return
        release(folder)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written to ({error.strerror}).") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = owner_of(descriptor)
        os.close(descriptor)
        raise CheckpointError(
            f"{folder}: {owner} is writing this run folder; wait until it ends, or choose another run_directory."
        ) from None
    except OSError as error:
        _logger.warning(
            "%s: this file system has no locks (%s); do not start two runs in the folder.", folder, error.strerror
        )
    sign(descriptor)
    _held[key] = descriptor


def release(folder: Path) -> None:
    """Give the lock back if this process has it."""
    descriptor = _held.pop((os.getpid(), folder.resolve()), None)
    if descriptor is not None:
        os.close(descriptor)
