"""One pass over VASP's own files that counts their ionic steps and checks the rows of numbers ASE will take from them.

ASE reads on after malformed XML, spreads a row of one number over three, and splits ``0.000000-000`` into two columns.
Here every row of cell, positions, forces and stress has as many numbers as it must, or the file is refused by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from equipot.data.formats import DAMAGED, describe_damage, open_binary, open_text
from equipot.errors import DataError

#: Elements within each other; VASP writes at most nine.
_MAX_DEPTH = 64
_CHUNK = 1 << 20
#: What expat says at the end of a file that stops too early.
_CUT_OFF = {
    expat.errors.codes[text]
    for text in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
    )
}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
#: Rows of each table of vectors; None: one an atom.
_ROWS = {"basis": 3, "stress": 3, "positions": None, "forces": None}


def count_vasprun_steps(path: Path) -> int:
    """Check a vasprun.xml and count its complete ionic steps.

    Raises:
        DataError: damaged, cut off, not well-formed, not a vasprun.xml, or a table of numbers is not complete.
    """
    scan = _VasprunScan(path)
    try:
        with open_binary(path) as handle:
            while chunk := handle.read(_CHUNK):
                scan.feed(chunk)
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error
    scan.feed(b"", is_last=True)
    if scan.num_steps == 0:
        raise DataError(f"{path} holds no ionic steps.")
    return scan.num_steps


class _VasprunScan:
    """The handlers of an XML parser that keeps nothing but where it is."""

    def __init__(self, path: Path) -> None:
        self.path, self.num_steps, self.num_atoms = path, 0, 0
        self._tags: list[str] = []
        self._table: str | None = None
        self._num_rows, self._text = 0, ""
        self._is_in_atoms = False
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = self._refuse_entities

    def feed(self, content: bytes, is_last: bool = False) -> None:
        try:
            self._parser.Parse(content, is_last)
        except expat.ExpatError as error:
            if not self._tags and not self.num_steps:
                raise DataError(f"{self.path} is not a vasprun.xml (it has no <modeling> element).") from None
            if is_last and error.code in _CUT_OFF:
                raise DataError(
                    f"{self.path} is cut off after {self.num_steps} complete ionic steps (no </modeling> at its end): "
                    f"the run was stopped or is still going. Use the OUTCAR, or close the file by hand after the last "
                    f"complete step."
                ) from None
            raise DataError(
                f"{self.path}, line {error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}) "
                f"after {self.num_steps} complete ionic steps; the file is damaged."
            ) from None
        except ValueError as error:  # an encoding that Python does not know
            raise DataError(f"{self.path}: not readable as XML ({error}).") from None

    def _refuse_entities(self, *_: object) -> None:
        raise DataError(f"{self.path} defines XML entities, which VASP does not write; it is not read.")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._tags and tag != "modeling":
            raise DataError(f"{self.path} is not a vasprun.xml (it has no <modeling> element).")
        self._tags.append(tag)
        if len(self._tags) > _MAX_DEPTH:
            raise self._error(f"elements are nested deeper than {_MAX_DEPTH} levels")
        name = attributes.get("name")
        if tag == "varray" and name in _ROWS:
            self._table, self._num_rows = name, 0
        elif tag == "v" and self._table is not None:
            self._text = ""
            self._parser.CharacterDataHandler = self._characters
        elif tag == "array" and name == "atoms":
            self._is_in_atoms = True
        elif tag == "rc" and self._is_in_atoms:
            self.num_atoms += 1

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, tag: str) -> None:
        self._tags.pop()
        if tag == "v" and self._table is not None:
            self._parser.CharacterDataHandler = None
            self._num_rows += 1
            words = self._text.split()
            if len(words) != 3 or not all(map(_NUMBER.fullmatch, words)):
                raise self._error(f"a row of '{self._table}' must be three numbers, found '{' '.join(words)[:60]}'")
        elif tag == "varray" and self._table is not None:
            expected = _ROWS[self._table] or self.num_atoms
            if self._num_rows != expected:
                raise self._error(f"'{self._table}' must have {expected} rows, found {self._num_rows}")
            self._table = None
        elif tag == "array":
            self._is_in_atoms = False
        elif tag == "calculation":
            self.num_steps += 1

    def _error(self, text: str) -> DataError:
        return DataError(f"{self.path}, line {self._parser.CurrentLineNumber}: {text}.")


def count_outcar_steps(path: Path) -> int:
    """Check an OUTCAR and count its complete ionic steps.

    Raises:
        DataError: damaged, cut off, or a table of numbers is not complete.
    """
    num_energies, num_tables, num_atoms, since, line = 0, 0, 0, 0, "\n"
    lines = _numbered(path)
    for number, line in lines:
        is_end = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line
        num_energies, since = num_energies + is_end, 0 if is_end else since + 1
        if "ions per type =" in line and num_atoms == 0:
            num_atoms = sum(int(word) for word in line.split("=")[1].split() if word.isdigit())
        elif re.match(r"\s*POSITION\s+TOTAL-FORCE", line):
            num_tables += 1
            next(lines, None)  # dashes
            for atom in range(num_atoms):
                number, line = next(lines, (number, "\n"))
                _check_row(path, number, line, f"position and force of atom {atom}")
        elif "direct lattice vectors" in line:
            for vector in range(3):
                number, line = next(lines, (number, "\n"))
                _check_row(path, number, line, f"lattice vector {vector}")
    if num_energies == 0 and num_tables == 0:
        raise DataError(f"{path} holds no ionic steps; it is not an OUTCAR, or the run ended before the first.")
    if num_energies != num_tables or since < 4 or (since == 4 and not line.endswith("\n")):
        raise DataError(
            f"{path} has {num_tables} sets of forces and {num_energies} total energies and ends within a step: it is "
            f"cut off. Remove what follows the last complete step."
        )
    return num_energies


def _check_row(path: Path, number: int, line: str, what: str) -> None:
    words = line.split()
    if len(words) != 6 or not all(map(_NUMBER.fullmatch, words)):
        raise DataError(f"{path}, line {number}: the {what} must be a row of six numbers, found '{line.strip()[:60]}'.")


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open_text(path) as handle:
            yield from enumerate(handle, start=1)
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error
