"""VASP's vasprun.xml: one pass checks the rows of numbers, another reads the steps of the electronic structure.

ASE reads on after malformed XML and spreads a row of one number over three. Here every row of cell, positions, forces
and stress that is used has as many numbers as it must, or the file is refused by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixScaled
from ase.data import atomic_numbers
from ase.io.vasp import atoms_from_step

from equipot.data.formats import DAMAGED, NUMBER, describe_damage, open_binary
from equipot.data.frames import RawFile, RawFrame
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
#: What expat says where a second file begins within the first.
_SEVERAL = {
    expat.errors.codes[text]
    for text in (expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT, expat.errors.XML_ERROR_MISPLACED_XML_PI)
}
#: Rows of each table of vectors; None: one per atom.
_ROWS = {"basis": 3, "stress": 3, "positions": None, "forces": None}
#: What VASP makes of two symbols.
_MANGLED = {"r": "Zr", "X": "Xe"}
_ENERGIES = (
    "energy/i[@name='e_fr_energy']",
    "scstep/energy/i[@name='e_fr_energy']",
    "scstep/energy/i[@name='e_0_energy']",
)


def read_vasprun(path: Path) -> RawFile:
    """Read the ionic steps that have an electronic structure; what a force field of VASP's own predicted is left out.

    Steps whose electronic loop ended at NELM above EDIFF, or whose energy is no number, come with a ``fault``.

    Raises:
        DataError: damaged, cut off, not well-formed, not a vasprun.xml, or a table of numbers is not complete.
    """
    scan = _scan(path)
    frames = list(_steps(path))
    notes = []
    num_predicted = scan.num_steps - len(frames) + scan.num_outside
    if not frames:
        raise DataError(
            f"{path} holds no ionic steps"
            + (
                f" with an electronic structure: all {num_predicted} are predictions of VASP's machine-learned force "
                f"field, which are no reference to train on."
                if num_predicted
                else "."
            )
        )
    if num_predicted:
        notes.append(
            f"{num_predicted} steps without an electronic structure are left out: VASP's machine-learned force field "
            f"predicted them"
        )
    return RawFile("vasprun", frames, notes)


def _scan(path: Path) -> _VasprunScan:
    scan = _VasprunScan(path)
    try:
        with open_binary(path) as handle:
            while chunk := handle.read(_CHUNK):
                scan.feed(chunk)
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error
    scan.feed(b"", is_last=True)
    return scan


class _VasprunScan:
    """The handlers of an XML parser that keeps nothing but where it is.

    Attributes:
        num_steps: complete ``<calculation>`` elements.
        num_outside: tables of forces outside of them (VASP's machine-learned force field).
    """

    def __init__(self, path: Path) -> None:
        self.path, self.num_steps, self.num_outside, self.num_atoms = path, 0, 0, 0
        self._tags: list[str] = []
        self._table: str | None = None
        self._num_rows, self._text = 0, ""
        self._is_in_atoms = self._is_initial = False
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
            state = "the file is damaged"
            if error.code in _SEVERAL:
                state += ", or holds several runs one after the other: give each as a file of its own"
            raise DataError(
                f"{self.path}, line {error.lineno}: not well-formed XML ({expat.ErrorString(error.code)}) "
                f"after {self.num_steps} complete ionic steps; {state}."
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
        if tag == "structure":
            self._is_initial = name == "initialpos"
        elif tag == "varray" and name in _ROWS and self._is_used(name):
            if self.num_atoms == 0:
                raise self._error(f"'{name}' stands before <atominfo>, which names the atoms")
            self._table, self._num_rows = name, 0
        elif tag == "v" and self._table is not None:
            self._text = ""
            self._parser.CharacterDataHandler = self._characters
        elif tag == "array" and name == "atoms":
            self._is_in_atoms = True
        elif tag == "rc" and self._is_in_atoms:
            self.num_atoms += 1

    def _is_used(self, table: str) -> bool:
        """Whether a table is one that is read: of the initial structure or of a step (not the primitive cell)."""
        is_step = self._tags[1:2] == ["calculation"]
        self.num_outside += table == "forces" and not is_step
        return is_step or (self._is_initial and "structure" in self._tags)

    def _characters(self, text: str) -> None:
        self._text += text

    def _end(self, tag: str) -> None:
        self._tags.pop()
        if tag == "v" and self._table is not None:
            self._parser.CharacterDataHandler = None
            self._num_rows += 1
            words = self._text.split()
            if len(words) != 3 or not all(map(NUMBER.fullmatch, words)):
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


def _steps(path: Path) -> Iterator[RawFrame]:
    """The steps with an electronic structure of a file that was scanned."""
    settings: dict[str, float] = {}
    species: list[str] = []
    initial: Atoms | None = None
    index = 0
    with open_binary(path) as handle:
        for _, element in ElementTree.iterparse(handle, events=["end"]):
            if element.tag in ("incar", "parameters"):
                settings |= _settings(element)  # what VASP used stands after what it was asked for
            elif element.tag == "atominfo":
                species = _species(path, element)
            elif element.tag == "structure" and element.get("name") == "initialpos":
                initial = _initial(species, element)
            elif element.tag == "calculation":
                if initial is None:
                    raise DataError(f"{path} has no initial structure ('initialpos') before its first ionic step.")
                if element.find("scstep") is not None:
                    yield _step(element, initial, settings, index)
                    index += 1
                element.clear()


def _settings(element: ElementTree.Element) -> dict[str, float]:
    """The numbers NELM, EDIFF and PSTRESS (kbar), in lower case, as far as they are given."""
    found = {}
    for item in element.iter("i"):
        name = item.get("name", "").lower()
        if name in ("nelm", "ediff", "pstress") and NUMBER.fullmatch((item.text or "").strip()):
            found[name] = float(item.text)
    return found


def _species(path: Path, atominfo: ElementTree.Element) -> list[str]:
    """The element of every atom; symbols that VASP mangles are taken from the name of their pseudopotential."""
    rows = atominfo.findall("array[@name='atoms']/set/rc")
    kinds = [[(cell.text or "").strip() for cell in row] for row in atominfo.findall("array[@name='atomtypes']/set/rc")]
    species = []
    for atom, row in enumerate(rows):
        symbol, *rest = ((cell.text or "").strip() for cell in row)
        if symbol not in atomic_numbers or symbol == "X":
            kind = kinds[int(rest[0]) - 1] if rest and rest[0].isdigit() and 0 < int(rest[0]) <= len(kinds) else []
            title = kind[4].split() if len(kind) > 4 else []
            named = title[1].split("_")[0] if len(title) > 1 else ""
            symbol = named if atomic_numbers.get(named, 0) > 0 else _MANGLED.get(symbol, symbol)
        if atomic_numbers.get(symbol, 0) < 1:
            raise DataError(f"{path}: atom {atom} is of the element '{symbol}', which is none.")
        species.append(symbol)
    return species


def _table(element: ElementTree.Element | None) -> np.ndarray | None:
    return None if element is None else np.array([[float(word) for word in row.text.split()] for row in element])


def _initial(species: list[str], structure: ElementTree.Element) -> Atoms:
    cell = _table(structure.find("crystal/varray[@name='basis']"))
    positions = _table(structure.find("varray[@name='positions']"))
    atoms = Atoms(species, cell=cell, scaled_positions=positions, pbc=True)
    flags = [(row.text or "").split() for row in structure.findall("varray[@name='selective']/v")]
    fixed = [atom for atom, row in enumerate(flags) if row == ["F"] * 3]
    constraints = [FixAtoms(fixed)] if fixed else []
    constraints += [
        FixScaled(atom, [flag == "F" for flag in row]) for atom, row in enumerate(flags) if 0 < row.count("F") < 3
    ]
    atoms.set_constraint(constraints)
    return atoms


def _step(step: ElementTree.Element, initial: Atoms, settings: dict[str, float], index: int) -> RawFrame:
    fault = _mend_energies(step) or _electronic_fault(step, settings)
    atoms = atoms_from_step(step, (), (), {"pstress": settings.get("pstress", 0.0)}, initial.copy(), len(initial))
    return RawFrame.of(atoms, index, fault=fault)


def _mend_energies(step: ElementTree.Element) -> str | None:
    """Say which energy is no number or missing, and put NaN there."""
    fault = None
    for path in _ENERGIES:
        found = step.findall(path)
        if not found:
            fault = fault or f"it has no {path.split(chr(39))[1]}"
            parent = step
            for name in path.split("/")[:-1]:
                there = parent.findall(name)
                parent = there[-1] if there else ElementTree.SubElement(parent, name)
            ElementTree.SubElement(parent, "i", name=path.split("'")[1]).text = "nan"
        elif not NUMBER.fullmatch((found[-1].text or "").strip()):
            fault = (
                fault or f"its {found[-1].get('name')} is '{(found[-1].text or '').strip()[:30]}', which is no number"
            )
            found[-1].text = "nan"
    return fault


def _electronic_fault(step: ElementTree.Element, settings: dict[str, float]) -> str | None:
    """Whether the electronic loop ended at NELM: VASP does not say so here, but the last energy still changed then."""
    limit = settings.get("nelm")
    energies = step.findall(_ENERGIES[1])
    if limit is None or len(energies) < limit:
        return None
    words = [(energy.text or "").strip() for energy in energies[-2:]]
    if len(words) == 2 and "ediff" in settings and all(map(NUMBER.fullmatch, words)):
        change = abs(float(words[1]) - float(words[0]))
        if change <= settings["ediff"]:
            return None
        return (
            f"its electronic structure did not converge: NELM = {limit:.0f} steps were made and the last changed the "
            f"energy by {change:.2g} eV (EDIFF = {settings['ediff']:.2g} eV)"
        )
    return f"its electronic structure did not converge: NELM = {limit:.0f} steps were made"
