"""VASP's OUTCAR: cut into runs and ionic steps here, each complete step read by ASE.

ASE splits ``0.000000-000`` into two columns, takes the atoms of the first run for those of a second in the same file,
and what VASP's machine-learned force field predicted for the result of the electronic structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ase.io.vasp_parsers.vasp_outcar_parsers import OUTCARChunk, OutcarHeaderParser

from equipot.data.formats import DAMAGED, NUMBER, describe_damage, open_text
from equipot.data.frames import RawFile, RawFrame
from equipot.errors import DataError

_ENERGY = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
#: Lines after that one up to the energy itself.
_TAIL = 4
_TABLE = re.compile(r"\s*POSITION\s+TOTAL-FORCE")
_ITERATION = re.compile(r"Iteration\s+\d+\(\s*(\d+)\)")
_NELM = re.compile(r"\bNELM\s*=\s*(\d+)")


@dataclass
class _Scan:
    """What was found so far.

    Attributes:
        header: lines before the first electronic step of the present run.
        lines: lines of the present step.
        num_tables, num_energies: sets of forces and total energies in the file, predicted ones not counted.
        num_predicted: steps of the machine-learned force field.
        num_without: steps without positions and forces.
    """

    path: Path
    frames: list[RawFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    is_header: bool = True
    num_atoms: int = 0
    num_tables: int = 0
    num_energies: int = 0
    num_predicted: int = 0
    num_without: int = 0
    nelm: int | None = None
    has_table: bool = False
    iteration: int = 0
    says_converged: bool = False
    stopped: str | None = None
    parsed: dict | None = None

    def next_step(self) -> None:
        self.lines, self.has_table, self.iteration = [], False, 0
        self.says_converged, self.stopped = False, None


def read_outcar(path: Path) -> RawFile:
    """Read the ionic steps that have an electronic structure.

    Steps of VASP's machine-learned force field and, with NWRITE=0, steps without positions and forces are left out and
    counted in the notes. Steps whose electronic loop was aborted come with a ``fault``.

    Raises:
        DataError: damaged, cut off, or a table of numbers is not complete.
    """
    scan = _Scan(path)
    lines = _numbered(path)
    for number, line in lines:
        _take(scan, number, line, lines)
    if scan.num_energies == 0 and scan.num_tables == 0 and scan.num_predicted == 0:
        raise DataError(f"{path} holds no ionic steps; it is not an OUTCAR, or the run ended before the first.")
    if scan.has_table:
        raise _cut_off(scan)
    if not scan.frames:
        raise DataError(f"{path}: no step has both an electronic structure and positions with forces. {_left(scan)}")
    if scan.num_predicted or scan.num_without:
        scan.notes.append(_left(scan))
    return RawFile("outcar", scan.frames, scan.notes)


def _left(scan: _Scan) -> str:
    reasons = []
    if scan.num_predicted:
        reasons.append(f"{scan.num_predicted} steps are left out: VASP's machine-learned force field predicted them")
    if scan.num_without:
        reasons.append(
            f"{scan.num_without} steps are left out: the OUTCAR has neither positions nor forces of them (NWRITE = 0 "
            f"or 1?); the vasprun.xml of the run has"
        )
    return "; ".join(reasons)


def _cut_off(scan: _Scan) -> DataError:
    return DataError(
        f"{scan.path} has {scan.num_tables} sets of forces and {scan.num_energies} total energies and ends within a "
        f"step: it is cut off. Remove what follows the last complete step."
    )


def _take(scan: _Scan, number: int, line: str, lines: Iterator[tuple[int, str]]) -> None:
    """Look at one line, and take the lines of a table after it."""
    if "POTCAR:" in line and not scan.is_header:
        _begin_run(scan)
    if (found := _ITERATION.search(line)) is not None:
        scan.is_header, scan.iteration = False, int(found[1])
    target = scan.header if scan.is_header else scan.lines
    target.append(line)
    if scan.is_header and "ions per type =" in line:
        _count_atoms(scan, lines)
    elif (found := _NELM.search(line)) is not None:
        scan.nelm = int(found[1])
    elif "aborting loop because EDIFF is reached" in line:
        scan.says_converged = True
    elif "EDIFF was not reached" in line or "hard stop encountered" in line:
        scan.stopped = line.strip(" -\n")
    elif _TABLE.match(line):
        _take_table(scan, number, line, lines)
    elif "direct lattice vectors" in line:
        _take_rows(scan, lines, number, 3, (6,), "lattice vector")
    elif _ENERGY in line:
        _take_energy(scan, line, lines)


def _begin_run(scan: _Scan) -> None:
    """The output of another run follows in the same file, perhaps of other atoms."""
    if scan.has_table:
        scan.notes.append(
            f"a run in the file ends within a step, after {len(scan.frames)} complete ones; the rest of it is not used"
        )
        scan.num_tables -= 1
    scan.header, scan.is_header, scan.num_atoms, scan.nelm, scan.parsed = [], True, 0, None, None
    scan.next_step()


def _count_atoms(scan: _Scan, lines: Iterator[tuple[int, str]]) -> None:
    """Add up the atoms of all types, which many types wrap onto further lines."""
    num_types = max(1, sum("POTCAR:" in line for line in scan.header) // 2)
    words = scan.header[-1].split("=")[1].split()
    while all(word.isdigit() for word in words) and len(words) < num_types:
        _, line = next(lines, (0, "x"))
        more = line.split()
        if not more or not all(word.isdigit() for word in more):
            scan.header.append(line)
            break
        words += more
    place = max(index for index, line in enumerate(scan.header) if "ions per type =" in line)
    scan.header[place] = "   ions per type = " + " ".join(words) + "\n"
    scan.num_atoms = sum(int(word) for word in words if word.isdigit())


def _take_table(scan: _Scan, number: int, line: str, lines: Iterator[tuple[int, str]]) -> None:
    is_predicted = "(ML)" in line
    scan.lines.append(next(lines, (number, ""))[1])  # dashes
    columns = (9,) if "w/o" in line else (6,)  # with the forces without dispersion after those with it
    _take_rows(scan, lines, number, scan.num_atoms, columns, "position and force of atom")
    if not is_predicted:
        scan.num_tables += 1
        scan.has_table = True


def _take_rows(
    scan: _Scan, lines: Iterator[tuple[int, str]], number: int, count: int, columns: tuple[int, ...], what: str
) -> None:
    target = scan.header if scan.is_header else scan.lines
    expected = " or ".join({6: "six", 9: "nine"}[number] for number in columns)
    for row in range(count):
        number, line = next(lines, (number, "\n"))
        words = line.split()
        if len(words) not in columns or not all(map(NUMBER.fullmatch, words)):
            raise DataError(
                f"{scan.path}, line {number}: the {what} {row} must be a row of {expected} numbers, found "
                f"'{line.strip()[:60]}'."
            )
        target.append(line)


def _take_energy(scan: _Scan, line: str, lines: Iterator[tuple[int, str]]) -> None:
    """End a step: read it, where it is the electronic structure's and complete."""
    tail = [next(lines, (0, ""))[1] for _ in range(_TAIL)]
    if "ML " in line:
        scan.num_predicted += 1
        if not scan.is_header:
            scan.next_step()  # an electronic structure of the same step comes after the prediction
        return
    scan.num_energies += 1
    if not tail[-1].endswith("\n"):
        raise _cut_off(scan)
    if scan.has_table:
        if scan.parsed is None:
            scan.parsed = OutcarHeaderParser(workdir=None).build(scan.header)
        # Constraints live in a POSCAR beside the file, which may belong to something else: not read.
        atoms = OUTCARChunk(scan.lines + tail, scan.parsed).build()
        scan.frames.append(RawFrame.of(atoms, len(scan.frames), fault=_electronic_fault(scan)))
    else:
        scan.num_without += 1
    scan.next_step()


def _electronic_fault(scan: _Scan) -> str | None:
    """Why the electronic structure of the step is not converged, where the file says so."""
    if scan.stopped is not None:
        return f"its electronic structure did not converge ('{scan.stopped}')"
    if scan.nelm is not None and scan.iteration >= scan.nelm and not scan.says_converged:  # VASP 5 says nothing
        return f"its electronic structure did not converge: NELM = {scan.nelm} steps were made"
    return None


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with open_text(path) as handle:
            yield from enumerate(handle, start=1)
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error
