"""A data set made on the spot: Cu-Au alloys labelled with ASE's effective-medium potential (EMT).

It stands in for DFT where none is at hand: made in seconds, the same for a seed, and with an exact answer (EMT's own
equation of state and elastic constants) a trained potential can be held against. EMT: K. W. Jacobsen, P. Stoltze,
J. K. Norskov, Surf. Sci. 366 (1996) 394.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import fcc111
from ase.calculators.emt import EMT

from equipot.data.frames import Frame
from equipot.units import voigt_to_matrix

_FCC = np.array([(0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)])
_SITE_ORDERED_SUPERCELLS = ((1, 1, 2), (1, 2, 2), (2, 2, 2))


@dataclass(frozen=True)
class Prototype:
    """An ordered crystal on the fcc sites of a four-atom cell with edges ``a, a, c`` (Angstrom, EMT's equilibrium)."""

    name: str
    symbols: tuple[str, str, str, str]
    a: float
    c: float

    def build(self, repeat: tuple[int, int, int] = (1, 1, 1)) -> Atoms:
        """The crystal, periodic in three directions."""
        cell = np.diag((self.a, self.a, self.c))
        return Atoms(self.symbols, scaled_positions=_FCC, cell=cell, pbc=True) * repeat


PROTOTYPES = (
    Prototype("Cu", ("Cu", "Cu", "Cu", "Cu"), 3.590, 3.590),
    Prototype("Cu3Au", ("Au", "Cu", "Cu", "Cu"), 3.708, 3.708),
    Prototype("CuAu", ("Au", "Cu", "Cu", "Au"), 3.953, 3.581),
    Prototype("CuAu3", ("Cu", "Au", "Au", "Au"), 3.955, 3.955),
    Prototype("Au", ("Au", "Au", "Au", "Au"), 4.056, 4.056),
)


def cu_au_emt(seed: int = 0) -> list[Frame]:
    """Make a few hundred labelled Cu-Au frames of 4 to 32 atoms.

    Groups (config_type): ``volume`` and ``elastic`` (ordered crystals at many volumes and small strains), ``rattled``
    (their supercells with displaced atoms), ``alloy`` (random solid solutions), ``vacancy``, ``surface`` and
    ``IsolatedAtom``.

    Args:
        seed: Fixes every frame.

    Returns:
        Frames with energy (eV), forces (eV/Angstrom) and stress (eV/Angstrom^3, tension positive; none for the isolated
        atoms, which have no volume).
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(int(seed)), 2979])))
    makers = (_volumes, _strains, _rattled, _alloys, _vacancies, _surfaces, _isolated_atoms)
    frames = [_label(atoms, config_type) for make in makers for config_type, atoms in make(generator)]
    for index, frame in enumerate(frames):
        frame.index, frame.source = index, f"cu_au_emt frame {index}"
    return frames


def _label(atoms: Atoms, config_type: str) -> Frame:
    labelled = atoms.copy()
    labelled.calc = EMT()
    energy, forces = float(labelled.get_potential_energy()), labelled.get_forces()
    stress = voigt_to_matrix(labelled.get_stress()) if atoms.pbc.all() else None
    return Frame(atoms, energy, forces, stress, config_type)


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def _random_strain(generator: np.random.Generator, size: float) -> np.ndarray:
    strain = generator.normal(scale=size, size=(3, 3))
    return 0.5 * (strain + strain.T)


def _displaced(atoms: Atoms, generator: np.random.Generator, amplitude: float) -> Atoms:
    atoms.positions += generator.normal(scale=amplitude, size=atoms.positions.shape)
    return atoms


def _volumes(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for prototype in PROTOTYPES:
        for stretch in (-0.06, -0.045, -0.03, -0.018, -0.008, 0.0, 0.008, 0.018, 0.03, 0.045, 0.065):
            yield "volume", _strained(prototype.build(), stretch * np.eye(3))


def _strains(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for prototype in PROTOTYPES:
        for size in (0.006, 0.015, 0.03):
            for _ in range(4):
                yield "elastic", _strained(prototype.build(), _random_strain(generator, size))


def _rattled(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for prototype in PROTOTYPES:
        for repeat in _SITE_ORDERED_SUPERCELLS:
            for amplitude in (0.02, 0.04, 0.07, 0.10, 0.13):
                atoms = _strained(prototype.build(repeat), _random_strain(generator, 0.012))
                yield "rattled", _displaced(atoms, generator, amplitude)


def _alloys(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    copper, gold = PROTOTYPES[0], PROTOTYPES[-1]
    for fraction in (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875):
        for repeat in ((1, 1, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2)):
            for amplitude in (0.03, 0.06, 0.10):
                atoms = copper.build(repeat)
                symbols = np.array(["Cu"] * len(atoms))
                chosen = generator.permutation(len(atoms))[: max(1, round(fraction * len(atoms)))]
                symbols[chosen] = "Au"
                atoms.symbols[:] = symbols
                edge = copper.a + fraction * (gold.a - copper.a)
                stretch = edge / copper.a - 1.0 + generator.uniform(-0.02, 0.02)
                _strained(atoms, stretch * np.eye(3) + _random_strain(generator, 0.01))
                yield "alloy", _displaced(atoms, generator, amplitude)


def _vacancies(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for prototype in PROTOTYPES:
        for repeat in ((1, 2, 2), (2, 2, 2)):
            for amplitude in (0.02, 0.06, 0.10):
                atoms = _strained(prototype.build(repeat), _random_strain(generator, 0.008))
                del atoms[int(generator.integers(len(atoms)))]
                yield "vacancy", _displaced(atoms, generator, amplitude)


def _surfaces(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for prototype in PROTOTYPES:
        for amplitude in (0.0, 0.04, 0.08):
            atoms = prototype.build((1, 1, 3))
            atoms.cell[2, 2] += 8.0
            yield "surface", _displaced(atoms, generator, amplitude)
    for symbol, edge in (("Cu", PROTOTYPES[0].a), ("Au", PROTOTYPES[-1].a)):
        for amplitude in (0.0, 0.06):
            atoms = fcc111(symbol, size=(2, 2, 4), a=edge, vacuum=4.0, periodic=True)
            atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
            yield "surface", _displaced(atoms, generator, amplitude)


def _isolated_atoms(generator: np.random.Generator) -> Iterator[tuple[str, Atoms]]:
    for symbol in ("Cu", "Au"):
        yield "IsolatedAtom", Atoms(symbol, positions=[(0.0, 0.0, 0.0)])
