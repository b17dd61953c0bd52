"""From what the user names (a file, or a prototype such as ``bcc:Ta``) to a crystal, and to its standard cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, reference_states
from ase.formula import Formula

from equipot.config.schema import PropertyConfig
from equipot.data.occupancy import Occupation
from equipot.data.structures import read_occupied, read_structure
from equipot.elements import require_elements
from equipot.errors import ConfigError, StructureError, UsageError
from equipot.properties.crystal import CUBIC_LATTICES, build_crystal

PROTOTYPES = (*CUBIC_LATTICES, "hcp")

#: Nearest-neighbour distance over lattice constant.
_NEAREST = {
    "sc": 1.0,
    "fcc": np.sqrt(0.5),
    "bcc": np.sqrt(0.75),
    "diamond": np.sqrt(3) / 4,
    "rocksalt": 0.5,
    "cesiumchloride": np.sqrt(0.75),
    "zincblende": np.sqrt(3) / 4,
    "l12": np.sqrt(0.5),
    "hcp": 1.0,
}
#: Volume of an atom over the cube of the lattice constant.
_VOLUME = {"sc": 1.0, "fcc": 0.25, "bcc": 0.5, "diamond": 0.125, "hcp": np.sqrt(0.5)}


@dataclass(frozen=True)
class Structure:
    """A crystal to measure, the name it goes by, and what was done to what the file holds."""

    label: str
    atoms: Atoms
    note: str | None = None

    @property
    def folder_name(self) -> str:
        """The label as a plain file name."""
        return re.sub(r"[^A-Za-z0-9.+-]+", "_", self.label).strip("._") or "structure"


@dataclass(frozen=True)
class Symmetry:
    """Space group of a crystal: number, international symbol, and its crystal system."""

    number: int
    symbol: str

    @property
    def system(self) -> str:
        """Crystal system of the space group."""
        for last, name in (
            (2, "triclinic"),
            (15, "monoclinic"),
            (74, "orthorhombic"),
            (142, "tetragonal"),
            (167, "trigonal"),
            (194, "hexagonal"),
        ):
            if self.number <= last:
                return name
        return "cubic"

    def __str__(self) -> str:
        return f"{self.symbol} ({self.number})"


def parse_structure(text: str, occupation: Occupation | None = None) -> Structure:
    """Make a structure of a file name or of ``LATTICE:FORMULA[:LATTICE_CONSTANT]``.

    Args:
        text: what the user named.
        occupation: how partly occupied sites of a file are filled; None: they are refused.

    Raises:
        UsageError: neither.
        DataError: the file cannot be read, or holds no crystal.
        StructureError: partly occupied sites that are not, or cannot be, filled.
    """
    lattice, colon, rest = text.partition(":")
    if colon and lattice in PROTOTYPES and not Path(text).is_file():
        return Structure(text, _prototype(text, lattice, rest))
    if not Path(text).exists() and "." not in text and "/" not in text:
        raise UsageError(
            f"{text!r} is neither a file nor a prototype; a prototype is written LATTICE:FORMULA or "
            f"LATTICE:FORMULA:CONSTANT (bcc:Ta, fcc:Cu:3.6) with one of {', '.join(PROTOTYPES)}."
        )
    atoms, note = (read_structure(text), None) if occupation is None else read_occupied(text, occupation)
    check_crystal(atoms, text)
    return Structure(Path(text).stem, atoms, note)


def check_crystal(atoms: Atoms, name: str) -> None:
    """Refuse what is not periodic in three dimensions, or holds atoms of no element.

    Raises:
        StructureError: not a crystal.
        ElementError: an atom of no element.
    """
    require_elements(atoms.numbers, name)
    if len(atoms) == 0 or not atoms.pbc.all() or atoms.cell.rank < 3:
        raise StructureError(
            f"{name}: properties of crystals need a structure periodic in three dimensions, found "
            f"{len(atoms)} atoms with pbc {atoms.pbc.tolist()} and {atoms.cell.rank} lattice vectors."
        )


def _prototype(text: str, lattice: str, rest: str) -> Atoms:
    formula, _, constant = rest.partition(":")
    try:
        symbols = list(Formula(formula).count()) if formula else []
    except ValueError:
        symbols = []
    unknown = [symbol for symbol in symbols if symbol not in atomic_numbers or symbol == "X"]
    if not symbols or unknown:
        raise UsageError(f"{text!r}: {formula!r} is not a chemical formula; write for example {lattice}:Cu.")
    try:
        length = float(constant) if constant else guess_lattice_constant(lattice, symbols)
    except ValueError:
        raise UsageError(f"{text!r}: the lattice constant {constant!r} is not a number of Angstrom.") from None
    if not (np.isfinite(length) and 1.0 < length < 30.0):
        raise UsageError(f"{text!r}: a lattice constant of {length:g} Angstrom is not one of a crystal.")
    try:
        return build_crystal(PropertyConfig(name=formula, lattice=lattice, lattice_constant=length))
    except ConfigError as error:
        raise UsageError(f"{text!r}: {error}") from None


def guess_lattice_constant(lattice: str, symbols: list[str]) -> float:
    """Guess a lattice constant (Angstrom): from the element's own crystal where ASE knows it, else from radii."""
    state = reference_states[atomic_numbers[symbols[0]]] if len(symbols) == 1 else None
    if state is not None and lattice in _VOLUME and state["symmetry"] in _VOLUME and "a" in state:
        own = _VOLUME[state["symmetry"]]
        if state["symmetry"] == "hcp":
            own *= state["c/a"] / np.sqrt(8.0 / 3.0)
        return float((own / _VOLUME[lattice]) ** (1 / 3) * state["a"])
    radii = [covalent_radii[atomic_numbers[symbol]] for symbol in symbols]
    distance = 2.0 * radii[0] if len(radii) == 1 else sum(sorted(radii)[-2:])
    return float(distance / _NEAREST[lattice])


def find_symmetry(atoms: Atoms, tolerance: float) -> Symmetry:
    """Find the space group with spglib.

    Raises:
        StructureError: spglib finds none (atoms on top of each other).
    """
    dataset = _dataset(atoms, tolerance)
    return Symmetry(int(dataset.number), str(dataset.international))


def conventional_cell(atoms: Atoms, tolerance: float) -> Atoms:
    """Return the standard conventional cell in standard orientation (spglib), without calculator."""
    return _standard_cell(atoms, tolerance, to_primitive=False)


def _standard_cell(atoms: Atoms, tolerance: float, *, to_primitive: bool) -> Atoms:
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.standardize_cell(cell, to_primitive=to_primitive, no_idealize=False, symprec=tolerance)
    if found is None:
        raise _no_symmetry(atoms, tolerance)
    lattice, positions, numbers = found
    return Atoms(numbers, scaled_positions=positions, cell=lattice, pbc=True)


def cartesian_rotations(atoms: Atoms, tolerance: float) -> np.ndarray:
    """Return the rotations (K, 3, 3) of the space group in Cartesian axes."""
    rotations = _dataset(atoms, tolerance).rotations
    lattice = atoms.cell.array.T
    return np.array([lattice @ rotation @ np.linalg.inv(lattice) for rotation in rotations])


def inequivalent_sites(atoms: Atoms, tolerance: float) -> list[int]:
    """Return one atom of every set of symmetry-equivalent ones."""
    return sorted(set(map(int, _dataset(atoms, tolerance).equivalent_atoms)))


def supercell_for(atoms: Atoms, length: float) -> tuple[int, int, int]:
    """Return the copies along each axis after which parallel faces of the cell are ``length`` (Angstrom) apart."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    return tuple(max(1, int(np.ceil(length / height - 1e-6))) for height in heights)


def _dataset(atoms: Atoms, tolerance: float):
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    if dataset is None:
        raise _no_symmetry(atoms, tolerance)
    return dataset


def _no_symmetry(atoms: Atoms, tolerance: float) -> StructureError:
    return StructureError(
        f"No space group is found for {atoms.get_chemical_formula()} at a tolerance of "
        f"{tolerance:g} Angstrom; are atoms on top of each other?"
    )
