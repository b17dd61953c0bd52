"""Which files are read: an explicit list of formats chosen by file name, never by looking into the file."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
from pathlib import Path
from typing import BinaryIO

from equipot.errors import DataError

#: What the messages say is accepted.
ACCEPTED = (
    ".xyz or .extxyz (extended XYZ), .traj (ASE trajectory), vasprun.xml or any .xml of VASP, a name with OUTCAR in it "
    "(VASP) - each also with .gz or .xz - and .db (ASE database)"
)

#: A number as programs write it, Fortran's exponents included.
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)

_COMPRESSIONS = {".gz": gzip.open, ".xz": lzma.open}


def format_of(path: str | os.PathLike) -> str:
    """Name the format of a file from its name alone.

    Args:
        path: File name; the file need not exist.

    Returns:
        ``extxyz``, ``ase-db``, ``traj``, ``vasprun`` or ``outcar``.

    Raises:
        DataError: The name is none of the accepted ones.
    """
    name = Path(path).name
    stem, compressed = name, False
    for suffix in _COMPRESSIONS:
        if name.lower().endswith(suffix):
            stem, compressed = name[: -len(suffix)], True
    lower = stem.lower()
    if lower.endswith((".xyz", ".extxyz")):
        return "extxyz"
    if lower.endswith(".traj"):
        return "traj"
    if lower.endswith(".xml"):
        return "vasprun"
    if lower.endswith(".db") and not compressed:
        return "ase-db"
    if "OUTCAR" in stem:
        return "outcar"
    raise DataError(f"{path}: this kind of file is not read. Accepted are {ACCEPTED}.")


def check_readable(path: str | os.PathLike) -> Path:
    """Make sure a path is a non-empty file that can be opened.

    Raises:
        DataError: It does not exist, is a folder, is empty, or may not be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; give the file inside it.")
        if not path.exists():
            raise DataError(f"{path} does not exist.")
        if not path.is_file():
            raise DataError(f"{path} is not a regular file.")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes).")
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise DataError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}.") from error
    return path


def open_binary(path: Path) -> BinaryIO:
    """Open a plain, .gz or .xz file for reading bytes."""
    return _COMPRESSIONS.get(path.suffix.lower(), open)(path, "rb")


def open_text(path: Path) -> io.TextIOWrapper:
    """Open a plain, .gz or .xz file as UTF-8 text: a byte-order mark is dropped, every line end becomes one newline."""
    return io.TextIOWrapper(open_binary(path), encoding="utf-8-sig", errors="strict", newline=None)


#: What decompressing or decoding a damaged file raises.
DAMAGED = (UnicodeError, EOFError, lzma.LZMAError, OSError, gzip.zlib.error)


def describe_damage(path: Path, error: Exception) -> str:
    """Say in words what is wrong with a file that could not be decompressed or decoded."""
    if isinstance(error, UnicodeError):
        return f"{path} is not text (it has bytes that are not UTF-8); is it a binary file with a text file's name?"
    if path.suffix.lower() in _COMPRESSIONS:
        return f"{path} cannot be decompressed ({error}); it is damaged, cut off, or not a {path.suffix} file."
    return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}."
