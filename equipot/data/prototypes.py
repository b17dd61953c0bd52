"""Rattled and strained crystals of given elements in common prototypes: structures of everything a base model knows.

Fine-tuning uses them twice, with different seeds: labelled by the base model they are replayed beside the frames it is
tuned on, and on others of them it is measured how far the tuned model has moved away from its base. Few of them are
known crystals; a base may have absurd forces on one in some hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from matscipy.neighbours import neighbour_list

from equipot.data.bond_lengths import (
    DIATOMIC,
    NOBLE_GASES,
    NONMETALS,
    bond_length,
    molecular_bond_length,
    van_der_waals_radius,
)
from equipot.elements import covalent_radius, sorted_symbols
from equipot.errors import UsageError

_FCC = ((0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
_HEXAGONAL = ((1.0, 0.0, 0.0), (-0.5, 0.75**0.5, 0.0), (0.0, 0.0, (8.0 / 3.0) ** 0.5))
_CUBE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def _shifted(sites: Sequence[Sequence[float]], by: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple((a + b) % 1.0 for a, b in zip(site, by)) for site in sites)


_QUARTER, _THREE_QUARTERS = _shifted(_FCC, (0.25,) * 3), _shifted(_FCC, (0.75,) * 3)
_HALF = _shifted(_FCC, (0.5, 0.0, 0.0))


@dataclass(frozen=True)
class Prototype:
    """A crystal structure without elements or size.

    Attributes:
        name: as crystallographers or metallurgists say.
        species: a letter for each site; the last letter is the anion where there is one.
        sites: fractional coordinates.
        cell: rows are lattice vectors, in any unit.
        is_ionic: whether it is met where metals and nonmetals share electrons unequally.
    """

    name: str
    species: str
    sites: tuple[tuple[float, ...], ...]
    cell: tuple[tuple[float, ...], ...] = _CUBE
    is_ionic: bool = False

    @property
    def num_species(self) -> int:
        """Number of distinct letters."""
        return len(set(self.species))


_HCP = ((1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75))

PROTOTYPES: tuple[Prototype, ...] = (
    Prototype("fcc", "AAAA", _FCC),
    Prototype("bcc", "AA", ((0, 0, 0), (0.5, 0.5, 0.5))),
    Prototype("hcp", "AA", _HCP, _HEXAGONAL),
    Prototype("sc", "A", ((0, 0, 0),)),
    Prototype("diamond", "A" * 8, _FCC + _QUARTER),
    Prototype("B2", "AB", ((0, 0, 0), (0.5, 0.5, 0.5))),
    Prototype("L1_0", "AABB", ((0, 0, 0), (0.5, 0.5, 0), (0, 0.5, 0.5), (0.5, 0, 0.5))),
    Prototype("L1_2", "ABBB", _FCC),
    Prototype("D0_3", "A" * 4 + "B" * 12, _FCC + _HALF + _QUARTER + _THREE_QUARTERS),
    Prototype("B32", "A" * 8 + "B" * 8, _FCC + _QUARTER + _HALF + _THREE_QUARTERS),
    Prototype("rocksalt", "AAAABBBB", _FCC + _HALF, is_ionic=True),
    Prototype("cesium chloride", "AB", ((0, 0, 0), (0.5, 0.5, 0.5)), is_ionic=True),
    Prototype("zincblende", "AAAABBBB", _FCC + _QUARTER, is_ionic=True),
    Prototype(
        "wurtzite",
        "AABB",
        ((1 / 3, 2 / 3, 0), (2 / 3, 1 / 3, 0.5), (1 / 3, 2 / 3, 0.375), (2 / 3, 1 / 3, 0.875)),
        _HEXAGONAL,
        is_ionic=True,
    ),
    Prototype("nickel arsenide", "AABB", ((0, 0, 0), (0, 0, 0.5), *_HCP), _HEXAGONAL, is_ionic=True),
    Prototype("fluorite", "A" * 4 + "B" * 8, _FCC + _QUARTER + _THREE_QUARTERS, is_ionic=True),
    Prototype("antifluorite", "A" * 8 + "B" * 4, _QUARTER + _THREE_QUARTERS + _FCC, is_ionic=True),
    Prototype(
        "rutile",
        "AABBBB",
        ((0, 0, 0), (0.5, 0.5, 0.5), (0.305, 0.305, 0), (0.695, 0.695, 0), (0.195, 0.805, 0.5), (0.805, 0.195, 0.5)),
        ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.644)),
        is_ionic=True,
    ),
    Prototype("Heusler", "A" * 4 + "B" * 4 + "C" * 8, _FCC + _HALF + _QUARTER + _THREE_QUARTERS),
    Prototype("half-Heusler", "A" * 4 + "B" * 4 + "C" * 4, _FCC + _HALF + _QUARTER),
    Prototype(
        "perovskite", "ABCCC", ((0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)), is_ionic=True
    ),
)
#: Share of the structures with one, two and three elements, where there are so many.
_SHARES = (0.25, 0.5, 0.25)
#: Like atoms that are not bonded to each other come as close as this fraction of a bond in an alloy, of the metal's
#: bond in an ionic crystal, and of the van der Waals distance for anions.
_METALS, _CATIONS, _ANIONS = 0.9, 0.72, 0.85
#: Lattices in which an element that forms covalent bonds is tried.
_COVALENT = ("sc", "diamond")
#: Normal deviates beyond so many standard deviations are cut off, so that no two atoms collide.
_CUT = 2.5


def prototype_structures(
    elements: Sequence[str],
    number: int,
    seed: int = 0,
    *,
    max_atoms: int = 16,
    rattle: tuple[float, float] = (0.0, 0.05),
    strain: float = 0.02,
    stretch: tuple[float, float] = (-0.05, 0.07),
) -> list[Atoms]:
    """Crystals of some of the elements in common prototypes, at sensible volumes, strained and rattled.

    A quarter has one element, half two, a quarter three (as far as there are so many); each element begins about as
    many structures as any other. Nonmetals with metals take ionic prototypes (rocksalt, fluorite, perovskite, ...),
    metals intermetallic ones (B2, L1_2, Heusler, ...); noble gases stay alone.

    Args:
        elements: symbols, in any order; the result does not depend on it.
        number: of structures.
        seed: the same gives the same structures; two seeds give two sets of one kind.
        max_atoms: atoms a structure has at most (a unit cell larger than that is not used); cells are repeated as far
            as they fit.
        rattle: displacements are normal with a standard deviation drawn uniformly between these, in nearest-neighbour
            distances.
        strain: standard deviation of the components of the random strain.
        stretch: the edges grow by a fraction drawn uniformly between these.

    Returns:
        Periodic structures; ``info["config_type"]`` names the prototype.

    Raises:
        UsageError: no element, a negative number, or fewer than eight atoms allowed.
        ElementError: not the symbol of an element.
    """
    elements = sorted_symbols(elements)
    if not elements:
        raise UsageError("Prototype structures need at least one element.")
    if number < 0 or max_atoms < 8:
        raise UsageError(
            f"Prototype structures: number must be 0 or more and max_atoms 8 or more, found {number} and {max_atoms}."
        )
    rng = np.random.default_rng([abs(int(seed)), 41977])
    usable = [prototype for prototype in PROTOTYPES if len(prototype.sites) <= max_atoms]
    structures: list[Atoms] = []
    order: list[str] = []
    for _ in range(number):
        order = order or [elements[k] for k in rng.permutation(len(elements))]
        species = _choose_species(order.pop(), elements, rng)
        atoms = _repeat(_choose_prototype(species, usable, rng), max_atoms)
        structures.append(_disturb(atoms, rng, rng.uniform(*rattle), strain, rng.uniform(*stretch)))
    return structures


def _choose_species(first: str, elements: Sequence[str], rng: np.random.Generator) -> list[str]:
    """One, two or three different elements, the first given; two nonmetals only where there are no metals left."""
    others = [element for element in elements if element != first and element not in NOBLE_GASES]
    most = 1 if first in NOBLE_GASES else min(3, 1 + len(others))
    shares = np.array(_SHARES[:most])
    count = 1 + int(rng.choice(most, p=shares / shares.sum()))
    chosen, rest = [first], [others[k] for k in rng.permutation(len(others))]
    while len(chosen) < count:
        has_nonmetal = any(element in NONMETALS for element in chosen)
        fitting = [element for element in rest if not (has_nonmetal and element in NONMETALS)] or rest
        chosen.append(fitting[0])
        rest.remove(fitting[0])
    return chosen


def _choose_prototype(species: Sequence[str], usable: Sequence[Prototype], rng: np.random.Generator) -> Atoms:
    """The unit cell of a prototype that suits the species."""
    if len(species) == 1 and species[0] in DIATOMIC:
        return _molecules(species[0])
    has_nonmetal = any(element in NONMETALS for element in species)
    choices = [prototype for prototype in usable if prototype.num_species == len(species)]
    if len(species) == 1:
        choices = [prototype for prototype in choices if not has_nonmetal or prototype.name in _COVALENT]
    else:
        choices = [prototype for prototype in choices if prototype.is_ionic == has_nonmetal] or choices
    if not choices:  # no unit cell of so many elements is small enough
        return _choose_prototype(species[:2], usable, rng)
    chosen = choices[int(rng.integers(len(choices)))]
    order = [species[k] for k in rng.permutation(len(species))]
    if chosen.is_ionic:  # large cation, small cation, anion
        order.sort(key=lambda element: (element in NONMETALS, -covalent_radius(element)))
    return _build(chosen, order)


def _molecules(element: str) -> Atoms:
    """Diatomic molecules on fcc sites along the four diagonals of the cube, as in solid nitrogen."""
    bond = molecular_bond_length(element)
    spacing = 2.0 * van_der_waals_radius(element) + 0.5 * bond
    axes = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]) / np.sqrt(3.0)
    cell = np.eye(3) * spacing * np.sqrt(2.0)
    centers = np.array(_FCC) @ cell
    positions = np.concatenate([centers + 0.5 * bond * axes, centers - 0.5 * bond * axes])
    return Atoms([element] * 8, positions, cell=cell, pbc=True, info={"config_type": "molecules"})


def _build(prototype: Prototype, species: Sequence[str]) -> Atoms:
    """The unit cell at the size at which bonds have their lengths on average and other like atoms keep apart."""
    letters = sorted(set(prototype.species))
    symbols = [species[letters.index(letter)] for letter in prototype.species]
    atoms = Atoms(symbols, scaled_positions=prototype.sites, cell=prototype.cell, pbc=True)
    i, j, distance = neighbour_list("ijd", atoms, 1.3)
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, i, distance)
    is_bond = distance < 1.05 * np.maximum(nearest[i], nearest[j])
    coordination = np.bincount(i[is_bond], minlength=len(atoms))
    ratios, least = [], 0.0
    for a, b, length, bonded in zip(i, j, distance, is_bond):
        if bonded:
            shared = int(min(coordination[a], coordination[b]))
            ratios.append(bond_length(symbols[a], symbols[b], shared) / length)
        elif symbols[a] == symbols[b] and prototype.num_species > 1:
            least = max(least, _apart(symbols[a], prototype.is_ionic) / length)
    atoms.set_cell(atoms.cell.array * max(float(np.mean(ratios)), least), scale_atoms=True)
    atoms.info["config_type"] = prototype.name
    return atoms


def _apart(element: str, is_ionic: bool) -> float:
    """The distance (Angstrom) like atoms keep that are not bonded to each other."""
    if element in NONMETALS:
        return _ANIONS * 2.0 * van_der_waals_radius(element)
    return (_CATIONS if is_ionic else _METALS) * bond_length(element, element, 12)


def _repeat(atoms: Atoms, most: int) -> Atoms:
    """As many unit cells as fit, the shortest edge repeated first."""
    copies = np.ones(3, dtype=int)
    while True:
        more = copies.copy()
        more[int(np.argmin(atoms.cell.lengths() * copies))] += 1
        if len(atoms) * int(more.prod()) > most:
            return atoms * tuple(copies)
        copies = more


def _disturb(atoms: Atoms, rng: np.random.Generator, rattle: float, strain: float, stretch: float) -> Atoms:
    """Strain and rattle a crystal that is this function's own."""
    distances = neighbour_list("d", atoms, 1.01 * float(atoms.cell.lengths().min()))
    nearest = float(distances.min())
    deformation = strain * np.clip(rng.normal(size=(3, 3)), -_CUT, _CUT)
    deformation = 0.5 * (deformation + deformation.T) + stretch * np.eye(3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + deformation), scale_atoms=True)
    atoms.positions += rattle * nearest * np.clip(rng.normal(size=atoms.positions.shape), -_CUT, _CUT)
    return atoms
