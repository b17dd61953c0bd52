"""Read the structure a simulation starts from, by an explicit list of formats."""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase import Atoms

from equipot.data.occupancy import Occupation, occupy, refuse_partial
from equipot.data.readers import read_raw_file
from equipot.elements import require_elements
from equipot.errors import DataError, UsageError

#: Suffix -> ASE's format. No format is guessed from content, since some of ASE's readers open pickles.
FORMATS = {
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".traj": "traj",
    ".cif": "cif",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".xsf": "xsf",
    ".pdb": "proteindatabank",
    ".json": "json",
    ".db": "db",
    ".gen": "gen",
    ".res": "res",
}
_NAMES = {"POSCAR": "vasp", "CONTCAR": "vasp"}


def read_structure(path: str | Path, index: int = -1) -> Atoms:
    """Read one structure with whole atoms, by default the last of the file, without calculator.

    Args:
        path: a file with a suffix in ``FORMATS``, or named POSCAR or CONTCAR.
        index: which structure.

    Returns:
        The atoms, with velocities where the file has them.

    Raises:
        DataError: no such file, not readable, or empty.
        ElementError: an atom that is of no element.
        StructureError: sites that are only partly occupied; says the way out.
        UsageError: a format that is not on the list.
    """
    atoms = _read(path, index)
    refuse_partial(atoms, str(path))
    return atoms


def read_occupied(path: str | Path, occupation: Occupation) -> tuple[Atoms, str]:
    """Read one structure, the last of the file, and fill its partly occupied sites.

    Returns:
        The supercell and a sentence with the numbers of atoms.

    Raises:
        DataError, UsageError: as :func:`read_structure`.
        StructureError: as ``occupancy.occupy``.
    """
    return occupy(_read(path, -1), occupation, str(path))


def _read(path: str | Path, index: int) -> Atoms:
    path = Path(path)
    form = _NAMES.get(path.name.upper().split(".")[0].split("_")[0]) or FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{path}: cannot tell the format from the name; known are {', '.join(sorted(FORMATS))} and "
            f"files named {' or '.join(_NAMES)}."
        )
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if form == "extxyz":
        return _last_of_xyz(path, index)
    try:
        atoms = ase.io.read(path, index=index, format=form)
    except Exception as error:  # ASE's readers raise anything on malformed input
        detail = str(error).strip().splitlines()
        raise DataError(
            f"{path}: cannot be read as {form} ({type(error).__name__}{': ' + detail[0][:200] if detail else ''})."
        ) from error
    if not isinstance(atoms, Atoms) or len(atoms) == 0:
        raise DataError(f"{path}: holds no atoms.")
    require_elements(atoms.numbers, str(path))
    atoms.calc = None
    return atoms


def _last_of_xyz(path: Path, index: int) -> Atoms:
    """A frame by the reader of training data: its cell may stand in a dialect, its rows fit their header."""
    frames = read_raw_file(path).frames
    if not -len(frames) <= index < len(frames):
        raise DataError(f"{path}: holds {len(frames)} structures, there is none of number {index}.")
    frame = frames[index]
    frame.atoms.info.update(frame.info)
    return frame.atoms
