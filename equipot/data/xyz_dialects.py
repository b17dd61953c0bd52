"""Cells that xyz files carry otherwise than as ``Lattice``: i-PI's is read, the others are refused, none is ignored."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from ase.geometry import cellpar_to_cell
from ase.units import Bohr

_IPI = re.compile(r"\bCELL\s*[({\[]\s*(\w+)\s*[)}\]]\s*:((?:\s+[-+.\dEe]+)+)")
_IPI_UNIT = re.compile(r"\b(positions|cell|forces|velocities|momenta)\s*\{\s*(\w+)\s*\}")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
#: A word for a cell and at least three numbers after it, in free text.
_TOLD = re.compile(
    r"\b(?:unit[ _-]?cell|cell|lattice|box|pbc|vec1|tv|abc|cryst1|crystal)\b"
    rf"[^\d\n]{{0,20}}{_NUMBER}(?:[\s,]+{_NUMBER}){{2}}",
    re.IGNORECASE,
)
#: Nothing but the numbers of a cell.
_ONLY_NUMBERS = re.compile(rf"\s*{_NUMBER}(?:[\s,]+{_NUMBER})*\s*")
_SIZES = (3, 6, 9)
#: Keys of such a value in any spelling of case, underscores left out.
_KEYS = frozenset(
    re.findall(
        r"\w+",
        "cell cellvec cellvectors cellparameters cellpar cellparams cellabc celllengths celldm unitcell box boxsize "
        "boxvectors simulationbox supercell abc cryst1 crystal tv h0 latticevectors latticevector latvec latvecs "
        "latticeparameters latticeconstants latticeabc",
    )
)
_ADVICE = 'Write it as Lattice="ax ay az bx by bz cx cy cz" (Angstrom), or take it out if the structure has none'


def cell_of_dialect(info: dict[str, Any]) -> dict[str, Any] | None:
    """The cell of a comment line without ``Lattice``, where it is i-PI's.

    Args:
        info: the parsed comment; free text stands under ``comment``.

    Returns:
        ``Lattice`` (3, 3) in Angstrom and ``pbc``, or None where the line carries no cell.

    Raises:
        ValueError: The line carries a cell, or i-PI's units, in a form that would be ignored or misread.
    """
    text = str(info.get("comment", ""))
    if (found := _IPI.search(text)) is not None:
        return _ipi(text, found)
    if (told := _TOLD.search(text)) is not None:
        raise ValueError(f"the comment '{_short(told[0])}' seems to carry a cell, which would be ignored. {_ADVICE}")
    if _ONLY_NUMBERS.fullmatch(text) and len(re.findall(_NUMBER, text)) in _SIZES:
        raise ValueError(f"the comment is nothing but numbers, '{_short(text)}', which look like a cell. {_ADVICE}")
    for key, value in info.items():
        if key.lower().replace("_", "") in _KEYS and np.size(value) in _SIZES and np.asarray(value).dtype.kind in "fi":
            raise ValueError(f"the key '{key}' seems to carry a cell, which would be ignored. {_ADVICE}")
    return None


def _ipi(text: str, found: re.Match) -> dict[str, Any]:
    """Lengths and angles after ``CELL(abcABC):``; i-PI's own unit is the Bohr radius where it names none."""
    units = dict(_IPI_UNIT.findall(text))
    other = next((name for name in units if name not in ("positions", "cell")), None)
    if other is not None:
        raise ValueError(f"i-PI's comment says that the rows are {other}, not positions")
    if found[1] != "abcABC":
        raise ValueError(f"i-PI's cell is written as '{found[1]}'; only CELL(abcABC) is read. {_ADVICE}")
    if units.get("positions") != "angstrom":
        unit = units.get("positions", "atomic units (it names no unit)")
        raise ValueError(
            f"i-PI's comment says that the positions are in {unit}; positions must be in "
            f"Angstrom: write the trajectory with positions{{angstrom}} in i-PI's input"
        )
    scale = {"angstrom": 1.0, "atomic_unit": Bohr, "bohr": Bohr}.get(units.get("cell", "atomic_unit"))
    words = found[2].split()[:6]
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if scale is None or len(numbers) != 6:
        raise ValueError(f"i-PI's cell cannot be read: '{_short(found[0])}', unit {units.get('cell')}")
    cell = cellpar_to_cell([*(scale * length for length in numbers[:3]), *numbers[3:]])
    if not np.isfinite(cell).all():
        raise ValueError(f"i-PI's cell is none: '{_short(found[0])}'")
    return {"Lattice": np.array(cell), "pbc": [True, True, True]}


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else text[:77] + "..."
