"""Output files that are either whole or absent: written to a temporary name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from equipot.checkpoint.atomic import temporary_name
from equipot.errors import UsageError


def refuse_existing(path: str | Path, *, overwrite: bool = False) -> Path:
    """Check, before any work is done, that an output can be written.

    Args:
        path: the file to be written.
        overwrite: whether a file that is there may be replaced.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        UsageError: the file exists and ``overwrite`` is false, it is a folder, or its folder does not exist.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file to write to.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already and is left as it is: choose another name or say --overwrite.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder {path.parent} for the output {path.name} does not exist: create it first.")
    return path


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it to ``path`` when the block ends without an exception.

    The temporary name keeps the suffix (formats are chosen by it), its permissions follow the umask, and it is removed
    when the block raises.
    """
    path = Path(path)
    with temporary_name(path, path.suffix) as temporary:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a binary file, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)
