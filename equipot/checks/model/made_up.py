"""Structures made up where none are known: of the model's elements, at distances at which its forces are moderate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111

from equipot.checks.model.subject import Subject
from equipot.elements import covalent_radius

_SKEW = np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]])
_SHAKE = 0.1
#: Forces (rms, eV/Angstrom) and stresses (eV/Angstrom^3) below which a structure is taken as it is; otherwise it is
#: expanded by steps until they are, or until atoms are so far apart for the cutoff.
_MODERATE_FORCE, _MODERATE_STRESS = 3.0, 0.3
_STEP, _MOST_STEPS, _OF_THE_CUTOFF = 1.06, 14, 0.75
#: Angstrom between a molecule and its periodic image.
_GAP = 3.0


def made_up_structures(subject: Subject, seed: int = 0) -> dict[str, Atoms]:
    """A cluster, a crystal, a slab, a skewed cell and a cell far below any cutoff, of random elements.

    Distances begin at 1.15 times the sum of two average covalent radii, so that nothing overlaps.
    """
    rng = np.random.default_rng(seed)

    def choose(number: int) -> list[str]:
        return [subject.elements[k] for k in rng.integers(len(subject.elements), size=number)]

    def finish(atoms: Atoms, symbols: Sequence[str]) -> Atoms:
        """From nearest neighbours at 1 Angstrom to a structure of these elements."""
        atoms = scaled_by(atoms, spacing(symbols))
        atoms.symbols = symbols
        atoms.positions += rng.normal(scale=_SHAKE, size=atoms.positions.shape)
        return moderate(subject, atoms)

    a = np.sqrt(2.0)  # of a face-centred crystal with neighbours at 1 Angstrom
    crystal = bulk("Cu", cubic=True, a=a) * (2, 1, 1)
    block = bulk("Cu", cubic=True, a=a) * 2
    slab = fcc111("Cu", (2, 2, 2), a=a, vacuum=None, periodic=True)
    slab.pbc = (True, True, False)
    return {
        "molecule": finish(Atoms("Cu9", block.positions[:9]), choose(9)),
        "crystal": finish(crystal, choose(8)),
        "slab": finish(slab, choose(len(slab))),
        "skewed cell": skewed(finish(crystal, choose(8))),
        "small cell": small_cell(subject, seed),
    }


def small_cell(subject: Subject, seed: int = 0) -> Atoms:
    """Two atoms in a cell below any cutoff: every edge is one of many images."""
    rng = np.random.default_rng(seed)
    symbols = [subject.elements[k] for k in rng.integers(len(subject.elements), size=2)]
    edge = 1.25 * spacing(symbols)
    cell = edge * np.array([[1, 0.03, 0], [0, 0.97, 0.07], [0.1, 0, 1.03]])
    return moderate(subject, Atoms(symbols, np.array([[0, 0, 0], [0.5, 0.45, 0.5]]) * edge, cell=cell, pbc=True))


def spacing(symbols: Sequence[str]) -> float:
    """Distance (Angstrom) of neighbours at which none of these elements overlap."""
    radii = [covalent_radius(symbol) for symbol in symbols]
    return 1.15 * (max(radii) + float(np.mean(radii)))


def scaled_by(atoms: Atoms, factor: float) -> Atoms:
    """A copy with every length, along directions without period as well, times ``factor``."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array * factor)
    copy.positions = atoms.positions * factor
    return copy


def moderate(subject: Subject, atoms: Atoms) -> Atoms:
    """The structure, expanded in all directions until the model's forces and stress are those of bonds, not of a crash.

    What a model says of overlapping atoms, which it never saw, is no measure of it.
    """
    for _ in range(_MOST_STEPS):
        try:
            found = subject.evaluate(atoms)
        except Exception:  # the checks will say so
            break
        force = float(np.sqrt(np.mean(found.forces**2)))
        stress = 0.0 if found.stress is None else float(np.abs(found.stress).max())
        if force <= _MODERATE_FORCE and stress <= _MODERATE_STRESS:
            break
        if subject.cutoff is not None and _nearest(atoms) * _STEP > _OF_THE_CUTOFF * subject.cutoff:
            break
        atoms = scaled_by(atoms, _STEP)
    return atoms


def _nearest(atoms: Atoms) -> float:
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    return float(distances[np.triu_indices(len(atoms), 1)].min())


def skewed(atoms: Atoms) -> Atoms:
    """The same crystal in a cell of other vectors."""
    copy = atoms.copy()
    copy.set_cell(_SKEW @ atoms.cell.array)
    return copy


def without_third_period(atoms: Atoms) -> Atoms:
    """A slab: the same cell, not repeated along its third vector, and thinner than an atom's reach where it is thin."""
    copy = atoms.copy()
    copy.pbc = (True, True, False)
    return copy


def boxed(molecule: Atoms) -> Atoms:
    """A molecular crystal: the molecule in a cell so narrow that it meets its images."""
    copy = molecule.copy()
    copy.set_cell(np.ptp(molecule.positions, axis=0) + _GAP)
    copy.center()
    copy.pbc = True
    return copy
