"""How far apart two atoms of a crystal nobody has computed should be: element radii that grow with coordination."""

from __future__ import annotations

import math

from ase.data import reference_states, vdw_radii

from equipot.elements import atomic_number, covalent_radius

#: Elements that take up electrons in compounds with metals.
NONMETALS = frozenset({"H", "B", "C", "N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I", "At"})
#: Elements whose solid is made of molecules of two atoms.
DIATOMIC = frozenset({"H", "N", "O", "F", "Cl", "Br", "I"})
NOBLE_GASES = frozenset({"He", "Ne", "Ar", "Kr", "Xe", "Rn"})
#: Covalent bonds an atom of these elements has where all of them are single.
_VALENCES = {
    "H": 1,
    "F": 1,
    "Cl": 1,
    "Br": 1,
    "I": 1,
    "At": 1,
    "O": 2,
    "S": 2,
    "Se": 2,
    "Te": 2,
    "N": 3,
    "P": 3,
    "As": 3,
    "B": 3,
    "C": 4,
}
#: Nearest neighbours and their distance in lattice constants, of the lattices ASE lists elements in.
_LATTICES = {
    "fcc": (12, math.sqrt(0.5)),
    "bcc": (8, math.sqrt(0.75)),
    "hcp": (12, 1.0),
    "sc": (6, 1.0),
    "diamond": (4, math.sqrt(3.0) / 4.0),
}
#: Radii for twelve neighbours (Angstrom) of metals that crystallise otherwise: A. F. Wells, Structural Inorganic
#: Chemistry, 5th ed. (1984), p. 1288.
_METALLIC_RADII = {
    "Mn": 1.27,
    "Ga": 1.35,
    "In": 1.67,
    "Sn": 1.58,
    "Hg": 1.51,
    "Sm": 1.80,
    "Pa": 1.63,
    "U": 1.56,
    "Np": 1.55,
    "Pu": 1.59,
    "Am": 1.73,
}
#: Hydrogen beside metals: what the distances in MgH2, TiH2 and PdH leave for it.
_HYDRIDE_RADIUS = 0.5
#: What a bond of half the order is longer by, over log10 of 2: L. Pauling, J. Am. Chem. Soc. 69 (1947) 542.
_PAULING = 0.60
#: Where the tables have none (radon), Angstrom.
_UNKNOWN_VAN_DER_WAALS = 2.2


def bond_length(one: str, other: str, coordination: int) -> float:
    """A sensible nearest-neighbour distance (Angstrom) of two elements in a crystal with so many nearest neighbours.

    Metallic radii come from the lattice each element has in ASE's tables, covalent radii from Cordero et al. (Dalton
    Trans. 2008, 2832); both grow with the coordination as Pauling's bond lengths do, except those of nonmetals beside
    metals, which take electrons and keep theirs.

    Raises:
        ElementError: not the symbol of an element.
    """
    are_both_nonmetals = one in NONMETALS and other in NONMETALS
    return _radius(one, coordination, are_both_nonmetals) + _radius(other, coordination, are_both_nonmetals)


def _radius(element: str, coordination: int, is_covalent: bool) -> float:
    if element in NONMETALS:
        if is_covalent:
            return covalent_radius(element) + _growth(_VALENCES[element], coordination)
        return _HYDRIDE_RADIUS if element == "H" else covalent_radius(element)
    if element in NOBLE_GASES:
        return van_der_waals_radius(element)
    number, radius = _metal(element)
    return radius + _growth(number, coordination)


def _growth(before: int, after: int) -> float:
    """What a radius grows by with the number of neighbours among which the same electrons are shared."""
    return 0.5 * _PAULING * math.log10(after / before)


def _metal(element: str) -> tuple[int, float]:
    """Number of neighbours and the radius there."""
    radius = covalent_radius(element)  # refuses what is no element
    if element in _METALLIC_RADII:
        return 12, _METALLIC_RADII[element]
    state = reference_states[atomic_number(element)] or {}
    if state.get("symmetry") in _LATTICES:
        number, distance = _LATTICES[state["symmetry"]]
        return number, 0.5 * distance * state["a"]
    return 4, radius


def molecular_bond_length(element: str) -> float:
    """Bond length (Angstrom) of the diatomic molecule of an element."""
    state = reference_states[atomic_number(element)] or {}
    return float(state["d"]) if state.get("symmetry") == "diatom" else 2.0 * covalent_radius(element)


def van_der_waals_radius(element: str) -> float:
    """Half the distance of two atoms (Angstrom) that touch without a bond: in the element's own fcc crystal for noble
    gases, else from Bondi's and later tables (in ASE)."""
    number = atomic_number(element)
    state = reference_states[number] or {}
    if element in NOBLE_GASES and state.get("symmetry") == "fcc":
        return 0.5 * state["a"] * _LATTICES["fcc"][1]
    return float(vdw_radii[number]) if math.isfinite(vdw_radii[number]) else _UNKNOWN_VAN_DER_WAALS
