"""Writing frames as extended XYZ, whole or not at all."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.constraints import FixAtoms
from ase.io.extxyz import write_xyz

from equipot.data.frames import Frame
from equipot.data.label_keys import ALL_LABEL_KEYS
from equipot.data.labels import FRAME_KEYS
from equipot.errors import DataError


def write_frames(path: str | Path, frames: Sequence[Frame], *, prefix: str = "REF_") -> None:
    """Write frames to extended XYZ under ``REF_energy``, ``REF_forces`` and ``REF_stress`` (3 x 3, tension positive).

    Args:
        path: Ends in .xyz or .extxyz, with .gz or .xz to compress. An existing file is replaced, in one step.
        frames: Written in this order; missing labels are left out.
        prefix: What the label keys begin with.

    Raises:
        DataError: The name is none of these, or the place cannot be written.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.removesuffix(".gz").removesuffix(".xz").endswith((".xyz", ".extxyz")):
        raise DataError(f"{path}: frames are written to .xyz or .extxyz files (.gz and .xz too).")
    text = io.StringIO()
    for frame in frames:
        write_xyz(text, _labelled(frame, prefix))
    content = text.getvalue().encode()
    if name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    elif name.endswith(".xz"):
        content = lzma.compress(content)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as handle:
            temporary = handle.name
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from error


def _labelled(frame: Frame, prefix: str):
    atoms = frame.atoms.copy()
    atoms.calc = None
    atoms.info = {
        key: value
        for key, value in frame.info.items()
        if key not in ALL_LABEL_KEYS and key not in FRAME_KEYS and not key.startswith(prefix)
    }
    for key in [key for key in atoms.arrays if key in ALL_LABEL_KEYS or key.startswith(prefix)]:
        del atoms.arrays[key]
    if frame.has("energy"):
        atoms.info[f"{prefix}energy"] = float(frame.energy)
    if frame.stress is not None:
        atoms.info[f"{prefix}stress"] = np.asarray(frame.stress, dtype=float)
    if frame.held is not None and frame.held.any() and not atoms.constraints:
        atoms.set_constraint(FixAtoms(mask=frame.held))  # so that a reader knows which forces are no labels
    if frame.forces is not None:
        atoms.arrays[f"{prefix}forces"] = np.asarray(frame.forces, dtype=float)
    atoms.info["config_type"] = frame.config_type
    for label in ("energy", "forces", "stress"):
        weight = getattr(frame, f"{label}_weight")
        if weight != 1.0:
            atoms.info[f"config_{label}_weight"] = float(weight)
    for key, value in atoms.info.items():
        if key.endswith("_stress") and np.shape(value) == (3, 3):
            # Nine plain numbers, as every program of the field reads them; ASE would write a 3 x 3 array as JSON.
            atoms.info[key] = np.reshape(value, 9)
    return atoms
