"""One reader a format: file -> raw frames, each counted independently of ASE, so that none is lost in silence."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from ase.io.extxyz import read_xyz

from equipot.data.extxyz import FrameText, count_frames, iter_frame_texts
from equipot.data.formats import DAMAGED, check_readable, describe_damage, format_of, open_binary
from equipot.data.frames import RawFile, RawFrame
from equipot.data.outcar import read_outcar
from equipot.data.vasprun import read_vasprun
from equipot.errors import DataError, EquipotError

#: Everything a reader of a damaged file has been seen to raise (ASE raises all of these, assertions included).
_ANYTHING = (Exception,)


def read_raw_file(path: str | Path) -> RawFile:
    """Read every frame of a file, whatever its format, without looking at labels.

    Raises:
        DataError: The file is missing, of no accepted kind, damaged, or would be read short.
    """
    name = format_of(path)
    path = check_readable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _READERS[name](path)
            return found if isinstance(found, RawFile) else RawFile(name, list(found))
    except EquipotError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory, or announces sizes it does not have.") from error
    except _ANYTHING as error:
        raise DataError(f"{path} cannot be read as {name}: {_in_words(error)}.") from error


def _in_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _read_extxyz(path: Path) -> Iterator[RawFrame]:
    expected = count_frames(path)
    found = 0
    for text in iter_frame_texts(path, check=False):
        yield _frame_from_text(path, text)
        found += 1
    if found != expected:
        raise DataError(f"{path} changed while it was read: {expected} frames were counted, {found} read.")


def _frame_from_text(path: Path, text: FrameText) -> RawFrame:
    """Give one frame to ASE, with only the layout in its comment; labels keep the form they have in the file."""
    layout: dict[str, Any] = {"Properties": _properties_text(text)}
    if "Lattice" in text.info:
        layout["Lattice"] = text.info["Lattice"].T
    if "pbc" in text.info:
        layout["pbc"] = text.info["pbc"]
    body = f"{len(text.rows)}\nlayout\n{''.join(text.rows)}"
    try:
        (atoms,) = read_xyz(StringIO(body), index=slice(None), properties_parser=lambda _: dict(layout))
    except _ANYTHING as error:
        raise DataError(f"{path}, frame {text.index} (line {text.line}) cannot be read: {_in_words(error)}.") from error
    info = {key: value for key, value in text.info.items() if key not in ("Lattice", "pbc")}
    raw = RawFrame.of(atoms, text.index, info, text.line)
    if not text.rows[-1].endswith("\n"):
        raw.note = (
            f"the file does not end with a line end: it may be cut off within the last number of frame "
            f"{text.index} ('{text.rows[-1].split()[-1][:30]}')"
        )
    return raw


def _properties_text(text: FrameText) -> str:
    return ":".join(f"{column.name}:{column.kind}:{column.stop - column.start}" for column in text.columns)


def _read_database(path: Path) -> Iterator[RawFrame]:
    from ase.db import connect

    uri = f"{path.resolve().as_uri()}?mode=ro"
    try:  # ASE creates its tables in any SQLite file it opens; look first, without the right to write
        with sqlite3.connect(uri, uri=True) as connection:
            (expected,) = connection.execute("SELECT COUNT(*) FROM systems").fetchone()
    except sqlite3.Error as error:
        raise DataError(f"{path} is not an ASE database ({error}).") from error
    finally:
        if "connection" in locals():
            connection.close()
    if expected == 0:
        raise DataError(f"{path} is an ASE database without rows.")
    index = 0
    for row in connect(str(path), type="db", use_lock_file=False, create_indices=False).select():
        atoms = row.toatoms()
        data = {key: value for key, value in dict(row.data).items() if not isinstance(value, dict)}
        per_atom = {
            key: np.asarray(value)
            for key, value in data.items()
            if isinstance(value, np.ndarray | list) and np.ndim(value) and len(value) == len(atoms)
        }
        info = {
            **atoms.info,
            **{key: value for key, value in data.items() if key not in per_atom},
            **row.key_value_pairs,
        }
        raw = RawFrame.of(atoms, index, info)
        raw.arrays.update({key: value for key, value in per_atom.items() if key not in raw.arrays})
        yield raw
        index += 1
    if index != expected:
        raise DataError(f"{path} has {expected} rows but only {index} could be read.")


def _read_trajectory(path: Path) -> Iterator[RawFrame]:
    from ase.io.trajectory import TrajectoryReader

    try:
        with open_binary(path) as handle:
            content = handle.read()
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error
    if content[:8] not in (b"- of Ulm", b"AFFormat"):
        raise DataError(f"{path} is not an ASE trajectory (its first bytes are not those of one).")
    announced = int.from_bytes(content[32:40], "little", signed=True)
    if not 0 <= announced * 8 <= len(content):
        raise DataError(f"{path} announces {announced} frames, more than fit into the file; it is damaged.")
    if announced == 0:
        raise DataError(f"{path} holds no frames.")
    reader = TrajectoryReader(BytesIO(content))
    for index in range(announced):
        try:
            atoms = reader[index]
        except _ANYTHING as error:
            raise DataError(f"{path}, frame {index} of {announced} cannot be read: {_in_words(error)}.") from error
        yield RawFrame.of(atoms, index)


_READERS: dict[str, Callable[[Path], Iterator[RawFrame] | RawFile]] = {
    "extxyz": _read_extxyz,
    "ase-db": _read_database,
    "traj": _read_trajectory,
    "vasprun": read_vasprun,
    "outcar": read_outcar,
}
