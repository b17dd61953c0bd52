"""Claims on output files that are being written, so that two processes never write the same one at once."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from equipot.errors import UsageError

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claim(*paths: str | Path | None, make_folders: bool = False) -> Iterator[None]:
    """Hold output files for a block: whoever else would write one of them meanwhile is refused at once.

    The lock is a hidden file beside each output that the kernel unlocks when the process ends, however it ends; it is
    gone after the block. Devices, and folders that cannot be written to, are left to whoever writes there.

    Args:
        paths: outputs; None and empty names are left out.
        make_folders: create missing folders; those that stay empty are removed after the block.

    Raises:
        UsageError: another process, or another part of this one, is writing one of them.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted({Path(path).expanduser().resolve() for path in paths if path}):
            if path.exists() and not path.is_file():
                continue
            if make_folders:
                stack.enter_context(_folders(path.parent))
            stack.enter_context(_claim(path))
        yield


@contextlib.contextmanager
def _claim(path: Path) -> Iterator[None]:
    name = path.with_name(f".{path.name}.lock")
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError:  # no folder, no permission: the writer has a sentence for that
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = owner_of(descriptor)
            os.close(descriptor)
            raise UsageError(
                f"{path} is being written by {owner}; wait until it ends, or choose another name."
            ) from None
        except OSError as error:
            _logger.warning(
                "%s: this file system has no locks (%s); do not write it twice at once.", path, error.strerror
            )
        if is_same_file(descriptor, name):
            break
        os.close(descriptor)  # its holder removed it between our opening and locking it
    try:
        sign(descriptor)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)
        os.close(descriptor)


@contextlib.contextmanager
def _folders(folder: Path) -> Iterator[None]:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    if missing:
        missing[0].mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty: it has served
            for made in missing:
                made.rmdir()


def owner_of(descriptor: int) -> str:
    """Return who signed a lock file."""
    return os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"


def sign(descriptor: int) -> None:
    """Write this process into a lock file."""
    with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether the lock file is still the one that was opened (the folder may have been removed and made again)."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
