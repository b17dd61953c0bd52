"""Prototype crystals: sensible sizes, every element, nothing overlaps, the same for a seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase.data import chemical_symbols
from matscipy.neighbours import neighbour_list

from equipot.data.bond_lengths import bond_length
from equipot.data.frames import Frame
from equipot.data.geometry_hash import hash_frames
from equipot.data.prototypes import PROTOTYPES, _build, prototype_structures
from equipot.elements import covalent_radius
from equipot.errors import ElementError, UsageError

#: Prototype, elements, and the measured volume per atom (Angstrom^3): lattice constants of the CRC Handbook.
MEASURED = [
    ("fcc", "Cu", 11.81),
    ("bcc", "W", 15.85),
    ("hcp", "Ti", 17.65),
    ("diamond", "Si", 20.02),
    ("diamond", "C", 5.67),
    ("rocksalt", "Na Cl", 22.43),
    ("rocksalt", "Ti C", 10.13),
    ("rocksalt", "Mg O", 9.36),
    ("fluorite", "Ca F", 13.62),
    ("zincblende", "Ga As", 22.59),
    ("rutile", "Ti O", 10.41),
    ("perovskite", "Sr Ti O", 11.91),
    ("B2", "Ni Al", 12.0),
    ("L1_2", "Al Ni", 11.33),
    ("D0_3", "Si Fe", 11.3),
    ("Heusler", "Mn Ga Ni", 12.3),
    ("half-Heusler", "Ti Sn Ni", 17.3),
]


@pytest.mark.parametrize(("name", "species", "volume"), MEASURED)
def test_unperturbed_crystals_have_about_the_measured_volume(name, species, volume):
    prototype = next(prototype for prototype in PROTOTYPES if prototype.name == name)
    atoms = _build(prototype, species.split())
    assert atoms.get_volume() / len(atoms) == pytest.approx(volume, rel=0.12)


#: Nearest neighbours of the first species: (how many, of which species).
NEIGHBORS = {
    "fcc": "A12",
    "bcc": "A8",
    "hcp": "A12",
    "sc": "A6",
    "diamond": "A4",
    "B2": "B8",
    "L1_0": "A4 B8",
    "L1_2": "B12",
    "D0_3": "B8",
    "B32": "A4 B4",
    "rocksalt": "B6",
    "cesium chloride": "B8",
    "zincblende": "B4",
    "wurtzite": "B4",
    "nickel arsenide": "B6",
    "fluorite": "B8",
    "antifluorite": "B4",
    "rutile": "B6",
    "Heusler": "C8",
    "half-Heusler": "C4",
    "perovskite": "C12",
}


@pytest.mark.parametrize("prototype", PROTOTYPES, ids=lambda prototype: prototype.name)
def test_sites_are_those_of_the_structure_type(prototype):
    """The first atom has the neighbours crystallography says (the space groups were compared with spglib's once)."""
    species = ["Sr", "Ti", "O"][-prototype.num_species :]
    atoms = _build(prototype, species)
    i, j, distance = neighbour_list("ijd", atoms, 6.0)
    around = j[(i == 0) & (distance < 1.04 * distance[i == 0].min())]
    counts = Counter("ABC"[species.index(atoms.symbols[k])] for k in around)
    assert " ".join(f"{letter}{counts[letter]}" for letter in sorted(counts)) == NEIGHBORS[prototype.name]


def test_a_seed_fixes_them_and_another_gives_others():
    first = prototype_structures(["O", "Ti", "Ni"], 20, seed=3)
    again = prototype_structures(("Ni", "Ti", "O"), 20, seed=3)
    other = prototype_structures(["O", "Ti", "Ni"], 20, seed=4)
    for one, two in zip(first, again):
        np.testing.assert_array_equal(one.positions, two.positions)
        np.testing.assert_array_equal(one.cell.array, two.cell.array)
        assert one.symbols.get_chemical_formula() == two.symbols.get_chemical_formula()
    hashes = [set(hash_frames([Frame(atoms) for atoms in structures])) for structures in (first, other)]
    assert len(hashes[0]) == 20 and not hashes[0] & hashes[1]


def test_every_element_of_the_periodic_table_is_met_and_nothing_overlaps():
    elements = chemical_symbols[1:95]
    structures = prototype_structures(elements, 188, seed=1)
    met = Counter(symbol for atoms in structures for symbol in set(atoms.symbols))
    assert set(met) == set(elements)
    for atoms in structures:
        assert atoms.pbc.all() and 4 <= len(atoms) <= 16 and atoms.info["config_type"]
        i, j, distance = neighbour_list("ijd", atoms, 4.0)
        radii = np.array([covalent_radius(symbol) for symbol in atoms.symbols])
        assert (distance / (radii[i] + radii[j])).min(initial=np.inf) > 0.55, atoms


def test_none_is_symmetric_so_that_forces_say_something():
    """Displacements differ between atoms, and their size is bounded by what was asked for."""
    still = prototype_structures(["Cu", "Au"], 12, rattle=(0.0, 0.0), strain=0.0, stretch=(0.0, 0.0))
    moved = prototype_structures(["Cu", "Au"], 12, rattle=(0.05, 0.05), strain=0.0, stretch=(0.0, 0.0))
    for one, two in zip(still, moved):
        nearest = neighbour_list("d", one, 4.0).min()
        shift = (two.positions - one.positions) / nearest
        assert 0.02 < shift.std() < 0.08 and np.abs(shift).max() <= 0.125 + 1e-12


def test_kinds_suit_the_elements():
    oxides = prototype_structures(["Ti", "O"], 40)
    ionic = {prototype.name for prototype in PROTOTYPES if prototype.is_ionic}
    for atoms in oxides:
        if len(set(atoms.symbols)) == 2:
            assert atoms.info["config_type"] in ionic
        elif atoms.symbols[0] == "O":
            assert atoms.info["config_type"] == "molecules"
    assert {len(set(atoms.symbols)) for atoms in oxides} == {1, 2}
    noble = prototype_structures(["Ar"], 6)
    assert {atoms.get_chemical_symbols()[0] for atoms in noble} == {"Ar"}


def test_bonds_lengthen_with_coordination():
    assert bond_length("Cu", "Cu", 12) == pytest.approx(2.553, abs=0.01)
    assert bond_length("Cu", "Cu", 6) == pytest.approx(bond_length("Cu", "Cu", 12) - 0.6 * np.log10(2.0))
    assert bond_length("Na", "Cl", 6) == pytest.approx(2.82, abs=0.05)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(UsageError, match="at least one element"):
        prototype_structures([], 3)
    with pytest.raises(UsageError, match="max_atoms 8 or more"):
        prototype_structures(["Cu"], 3, max_atoms=4)
    with pytest.raises(ElementError, match="Xx"):
        prototype_structures(["Xx"], 3)
    assert prototype_structures(["Cu"], 0) == []
