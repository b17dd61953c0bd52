"""The structures a model is checked on: the user's own frames, slightly shaken, and awkward ones of its elements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from ase.data import atomic_numbers, reference_states

from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.elements import covalent_radius
from equipot.errors import NumericalError, StructureError
from equipot.properties import equation_of_state

#: Frames larger than this are left out of the symmetry checks where there are smaller ones.
_LARGE = 120
_SHAKE = 0.04
#: Lattices ase.build.bulk makes from one element with one lattice constant.
_LATTICES = ("fcc", "bcc", "diamond", "sc")


def generated_structures(elements: Sequence[str], seed: int = 0) -> dict[str, Atoms]:
    """A molecule, an alloy, a slab, a skewed cell and a cell far below any cutoff, of random elements.

    Distances are 1.15 times the sum of two average covalent radii, so that nothing overlaps.
    """
    rng = np.random.default_rng(seed)

    def spacing(symbols: Sequence[str]) -> float:
        radii = [covalent_radius(symbol) for symbol in symbols]
        return 1.15 * (max(radii) + float(np.mean(radii)))

    def choose(number: int) -> list[str]:
        return [elements[k] for k in rng.integers(len(elements), size=number)]

    def shake(atoms: Atoms, amplitude: float = 0.1) -> Atoms:
        atoms.positions += rng.normal(scale=amplitude, size=atoms.positions.shape)
        return atoms

    def crystal() -> Atoms:
        symbols = choose(8)
        atoms = bulk("Cu", cubic=True, a=spacing(symbols) * np.sqrt(2)) * (2, 1, 1)
        atoms.symbols = symbols
        return shake(atoms)

    alloy, skewed = crystal(), crystal()
    skewed.set_cell(np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]]) @ skewed.cell.array)
    slab = fcc111("Cu", (2, 2, 2), a=2.0, vacuum=None, periodic=False)
    symbols = choose(len(slab))
    slab.set_cell(slab.cell.array * spacing(symbols) / np.sqrt(2), scale_atoms=True)
    slab.symbols = symbols
    slab.pbc = (True, True, False)
    cluster = bulk("Cu", cubic=True, a=1.0) * 2
    symbols = choose(9)
    cluster = Atoms(symbols, cluster.positions[:9] * spacing(symbols) * np.sqrt(2))
    symbols = choose(2)
    edge = 1.25 * spacing(symbols)
    tiny = Atoms(
        symbols,
        np.array([[0, 0, 0], [0.5, 0.45, 0.5]]) * edge,
        cell=edge * np.array([[1, 0.03, 0], [0, 0.97, 0.07], [0.1, 0, 1.03]]),
        pbc=True,
    )
    return {"molecule": shake(cluster), "alloy": alloy, "slab": shake(slab), "skewed cell": skewed, "small cell": tiny}


def frames_to_check(frames: Sequence[Frame], elements: Sequence[str], number: int, seed: int = 0) -> dict[str, Atoms]:
    """A spread over the user's frames: the smallest of each config_type in turn, each slightly shaken.

    Args:
        frames: as read; isolated atoms and frames with other elements are left aside.
        elements: that the model knows.
        number: at most so many.
        seed: of the shaking, which takes frames off symmetric positions where every force is zero.
    """
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if not is_isolated_atom(frame) and set(frame.atoms.symbols) <= set(elements):
            groups[frame.config_type].append(frame)
    for members in groups.values():
        members.sort(
            key=lambda frame: (
                len(frame.atoms) > _LARGE,
                -len(frame.atoms) if len(frame.atoms) <= _LARGE else len(frame.atoms),
            )
        )
    chosen: list[Frame] = []
    place = 0
    while len(chosen) < number and any(place < len(members) for members in groups.values()):
        chosen += [members[place] for members in groups.values() if place < len(members)]
        place += 1
    found = {}
    for frame in chosen[:number]:
        atoms = Atoms(frame.atoms.numbers, frame.atoms.positions, cell=frame.atoms.cell, pbc=frame.atoms.pbc)
        atoms.positions += rng.normal(scale=_SHAKE, size=atoms.positions.shape)
        found[frame.source or f"frame {frame.index}"] = atoms
    return found


def equilibrium_structures(frames: Sequence[Frame], elements: Sequence[str], number: int) -> dict[str, Atoms]:
    """Where simulations start: the lowest-energy frame of each composition, or elements in their own lattices.

    Args:
        frames: the user's, labelled or not; may be empty.
        elements: that the model knows.
        number: at most so many, the compositions with most frames first.
    """
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        known = set(frame.atoms.symbols) <= set(elements)
        if known and len(frame.atoms) > (1 if is_isolated_atom(frame) else 0):
            groups[frame.atoms.symbols.formula.reduce()[0].format("metal")].append(frame)
    found = {}
    for formula, members in sorted(groups.items(), key=lambda item: -len(item[1]))[:number]:
        labelled = [frame for frame in members if frame.has("energy")]
        best = min(labelled, key=lambda frame: frame.energy / len(frame.atoms)) if labelled else members[0]
        found[f"{formula} ({best.source})" if best.source else formula] = Atoms(
            best.atoms.numbers, best.atoms.positions, cell=best.atoms.cell, pbc=best.atoms.pbc
        )
    if frames:
        return found
    for element in elements:
        state = reference_states[atomic_numbers[element]] or {}
        if state.get("symmetry") in _LATTICES and len(found) < number:
            found[f"{element} ({state['symmetry']})"] = bulk(element, state["symmetry"], a=state["a"], cubic=True)
    return found


def at_minimum(atoms: Atoms, calculator) -> Atoms | None:
    """The crystal at the volume its energy is lowest at, None where there is no minimum near; molecules come back as
    they are."""
    if not atoms.pbc.all():
        return atoms
    try:
        volume = equation_of_state(atoms, calculator).volume
    except (NumericalError, StructureError):
        return None
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return scaled


def repeated(atoms: Atoms, least: int) -> Atoms:
    """A supercell with at least so many atoms, as cubic as can be; not repeated along directions without period."""
    copies = np.ones(3, dtype=int)
    while len(atoms) * copies.prod() < least and atoms.pbc.any():
        lengths = np.where(atoms.pbc, atoms.cell.lengths() * copies, np.inf)
        copies[int(np.argmin(lengths))] += 1
    return atoms * tuple(copies)
