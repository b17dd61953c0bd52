"""Writing a file so that whoever looks finds the old content or the new, never a part, whatever happens between."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from equipot.errors import CheckpointError

#: End of the names files have while they are being written.
TEMPORARY_SUFFIX = ".tmp"


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write ``content`` under a temporary name in the same folder, sync it to the disk, and rename it.

    The permissions are what the user's umask asks for. After an error, and after a crash, the file that was there
    before is untouched.

    Args:
        path: the file; its folder must exist.
        content: all of it.

    Raises:
        CheckpointError: the folder or disk does not take it (no space, no permission); nothing is left behind.
    """
    path = Path(path)
    try:
        with temporary_name(path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        advice = "" if path.parent.is_dir() else " The folder does not exist."
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); what was there before is untouched.{advice}"
        ) from error


@contextlib.contextmanager
def temporary_name(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a name beside ``path`` that nobody else uses; a file of that name is gone when the block ends.

    What processes of this machine that are no more (killed while they wrote) left beside the same file goes first.

    Args:
        path: the file that will be written.
        suffix: what the name shall end with, for writers that choose the format by it.
    """
    _remove_left_over(path, suffix)
    name = f".{path.name}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}{suffix}"
    _in_use.add(name)
    try:
        yield path.with_name(name)
    finally:
        with contextlib.suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)
        _in_use.discard(name)


#: Temporary names this process is writing to; another of its number (a container restarted) has none of them.
_in_use: set[str] = set()


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _remove_left_over(path: Path, suffix: str) -> None:
    pattern = re.compile(
        re.escape(f".{path.name}.{_machine()}-") + r"(\d{1,10})-[0-9a-f]{8}" + re.escape(TEMPORARY_SUFFIX + suffix)
    )
    with contextlib.suppress(OSError):
        for entry in os.scandir(path.parent):
            found = pattern.fullmatch(entry.name)
            if found and entry.name not in _in_use and not _is_another_alive(int(found[1])):
                Path(entry.path).unlink(missing_ok=True)


def _is_another_alive(number: int) -> bool:
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text as ``write_atomically`` does."""
    write_atomically(path, text.encode("utf-8"))


def write_json(path: str | Path, value: Any) -> None:
    """Write strict, indented JSON as ``write_atomically`` does; numbers that are not finite become null."""
    write_text(path, json.dumps(finite_json(value), indent=2, allow_nan=False) + "\n")


def finite_json(value: Any) -> Any:
    """Copy a nest of dicts, lists and numbers with NaN and infinity as None, tuples as lists, keys as text."""
    if isinstance(value, float):
        return float(value) if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): finite_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_json(item) for item in value]
    if not isinstance(value, str | int | None) and hasattr(value, "item"):
        return finite_json(value.item())
    return value


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
