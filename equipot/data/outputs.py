"""Text outputs of Quantum ESPRESSO, FHI-aims, ORCA, ABINIT and GPAW, read by ASE's reader of that program alone.

Which program wrote a file is told by its banner, never by ASE's guessing, some of whose readers run what they read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.io.aims import read_aims_output
from ase.units import Bohr

from equipot.data.formats import DAMAGED, describe_damage, open_text
from equipot.data.frames import RawFile, RawFrame
from equipot.errors import DataError

#: Beginnings of the k-points and bands of pw.x, of which not every form can be read by ASE.
_NOT_NEEDED = ("End of self-consistent calculation", "End of band structure calculation", "number of k points=")
#: Lines among which a banner has to be.
_BANNER_LINES = 400


@dataclass(frozen=True)
class Program:
    """A program whose output is read.

    Attributes:
        name: in messages.
        format: ASE's name of the format.
        banner: what a line near the beginning holds.
        converged, failed: how the electronic loop says its end.
    """

    name: str
    format: str
    banner: re.Pattern
    converged: re.Pattern
    failed: re.Pattern


PROGRAMS = (
    Program(
        "Quantum ESPRESSO (pw.x)",
        "espresso-out",
        re.compile(r"Program PWSCF"),
        re.compile(r"convergence has been achieved in"),
        re.compile(r"convergence NOT achieved"),
    ),
    Program(
        "FHI-aims",
        "aims-output",
        re.compile(r"Invoking FHI-aims|FHI-aims code project|Fritz Haber Institute ab initio"),
        re.compile(r"Self-consistency cycle converged\."),
        re.compile(r"self-consistency cycle (?:did not converge|not converged)", re.IGNORECASE),
    ),
    Program(
        "ORCA",
        "orca-output",
        re.compile(r"\* O   R   C   A \*"),
        re.compile(r"SCF CONVERGED AFTER"),
        re.compile(r"SCF NOT CONVERGED AFTER|Wavefunction not fully converged"),
    ),
    Program(
        "ABINIT",
        "abinit-out",
        re.compile(r"Version\s+\S+\s+of ABINIT"),
        re.compile(r"At SCF step\s+\d+.*converged|converged :"),
        re.compile(r"was not enough scf cycles to converge"),
    ),
    Program(
        "GPAW",
        "gpaw-out",
        re.compile(r"\|__ \|  _\|___\|_____\|"),
        re.compile(r"Converged after \d+ iterations"),
        re.compile(r"Did not converge!"),
    ),
)
#: Programs whose output is known and not read -> what to do.
_OTHERS = {
    re.compile(r"CP2K\||PROGRAM STARTED AT.*|\*\*\*\* \*\*\*\* \*\*\*\*\*\*"): (
        "an output of CP2K, from which ASE reads no energies and forces: print the trajectory and the forces with "
        "MOTION/PRINT (xyz), or convert the output with dpdata (format cp2k/output or cp2k/aimd_output) to extended XYZ"
    ),
    re.compile(r"\bvasp\.\d"): "an OUTCAR of VASP: give it a name with OUTCAR in it",
    re.compile(r"Entering Gaussian System"): "an output of Gaussian: convert it with ASE or cclib to extended XYZ",
    re.compile(r"^LAMMPS \("): "a log of LAMMPS, which holds no reference",
}


def program_of(path: Path) -> Program | None:
    """The program that wrote a text output, by its banner; None: none of those that are read.

    Raises:
        DataError: cannot be opened as text.
    """
    head = _head(path)
    return next((program for program in PROGRAMS if program.banner.search(head)), None)


def _head(path: Path) -> str:
    try:
        with open_text(path) as handle:
            return "".join(line[:500] for line in islice(handle, _BANNER_LINES))
    except DAMAGED as error:
        raise DataError(describe_damage(path, error)) from error


def read_output(path: Path) -> RawFile:
    """Read the structures of an output with their labels in eV and Angstrom.

    Structures whose electronic loop did not converge come with a ``fault``; where the file does not say which it was of
    several, all do.

    Raises:
        DataError: no program that is read wrote it, or its reader cannot use it.
    """
    program = program_of(path)
    if program is None:
        head = _head(path)
        other = next((text for pattern, text in _OTHERS.items() if pattern.search(head)), None)
        names = ", ".join(program.name for program in PROGRAMS)
        raise DataError(
            f"{path} is {other}."
            if other
            else f"{path}: no program whose output is read says its name in the first lines. Read are those of "
            f"{names}; convert others to extended XYZ."
        )
    with open_text(path) as handle:
        text = handle.read()
    images = list(_images(path, program, text))
    faults = _faults(program, text, len(images))
    frames = [RawFrame.of(atoms, index, fault=fault) for index, (atoms, fault) in enumerate(zip(images, faults))]
    if not frames:
        raise DataError(f"{path}: holds no structure with results of {program.name}.")
    return RawFile(program.format.split("-")[0], frames)


def _images(path: Path, program: Program, text: str) -> Iterator[Atoms]:
    for line in _NOT_NEEDED:
        text = text.replace(line, "")
    try:
        if program.format == "aims-output":  # of a run that is cut off what is complete is read
            images = read_aims_output(StringIO(text), index=slice(None), non_convergence_ok=True)
        else:
            images = ase.io.read(StringIO(text), index=slice(None), format=program.format)
    except Exception as error:  # ASE's readers raise anything
        detail = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: ASE cannot read this output of {program.name} ({type(error).__name__}: {detail}); is the run "
            f"complete and converged?"
        ) from error
    for atoms in images if isinstance(images, list) else [images]:
        if program.format == "abinit-out":
            atoms.set_cell(_abinit_cell(path, text, atoms))
        if atoms.calc is not None:
            yield atoms


def _faults(program: Program, text: str, number: int) -> list[str | None]:
    ends = re.finditer(
        f"(?P<good>{program.converged.pattern})|(?:{program.failed.pattern})", text, program.failed.flags
    )
    good = [match["good"] is not None for match in ends]
    bad = good.count(False)
    if not bad:
        return [None] * number
    if len(good) == number:
        return [None if each else "its electronic structure did not converge" for each in good]
    return [
        f"the electronic structure did not converge in {bad} of the {len(good)} loops of the file, and it does not say "
        f"of which structure"
    ] * number


def _abinit_cell(path: Path, text: str, atoms: Atoms) -> np.ndarray:
    """The cell (Angstrom) of the one structure of an output of ABINIT: ASE leaves out ``acell`` and its unit.

    Raises:
        DataError: several structures, or a volume that is not the printed one.
    """
    echo = text.split("echo values of preprocessed input variables", 1)[1].split("====", 1)[0]
    found = re.search(r"^\s*acell\s+(\S+)\s+(\S+)\s+(\S+)\s+Bohr", echo, re.MULTILINE)
    if found is None:
        raise DataError(
            f"{path}: the output of ABINIT does not say 'acell ... Bohr', so the size of the cell is not known."
        )
    lengths = np.array([float(word) for word in found.groups()])
    moved = re.search(r"^\s*(?:ionmov|optcell|geoopt|moldyn)\d*\s+\"?([1-9a-z])", echo, re.MULTILINE)
    if moved or text.count("cartesian coordinates (angstrom) at end") != 1:
        raise DataError(
            f"{path}: an output of ABINIT with several structures (datasets, ionmov or optcell), of which ASE reads "
            f"one only: use the _HIST.nc file and convert it (abipy) to extended XYZ."
        )
    cell = atoms.cell.array * lengths[:, None] * Bohr
    printed = re.search(r"ucvol=\s*(\S+)\s+bohr", text)
    volume = abs(np.linalg.det(cell))
    if printed and abs(volume / (float(printed[1]) * Bohr**3) - 1) > 1e-4:
        raise DataError(
            f"{path}: the cell read has a volume of {volume:.6g} Angstrom^3, ABINIT says "
            f"{float(printed[1]) * Bohr**3:.6g}; convert the file to extended XYZ by another way."
        )
    return cell
