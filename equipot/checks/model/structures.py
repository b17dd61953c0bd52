"""The structures a model is checked on: the user's frames or the model file's, slightly shaken, or made up ones.

A verdict is about the model only where the structures are near what it was trained on. So the awkward ones (a cluster,
a slab, a skewed cell) are cut from frames where there are any; see :mod:`equipot.checks.model.made_up` for the others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, reference_states

from equipot.checks.model.made_up import boxed, made_up_structures, skewed, small_cell, without_third_period
from equipot.checks.model.subject import Subject
from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import NumericalError, StructureError
from equipot.graph import neighbor_list
from equipot.properties import equation_of_state

#: Frames larger than this are left out of the symmetry checks where there are smaller ones.
_LARGE = 120
_SHAKE = 0.04
#: Structures every check can count on, whatever they were made from.
ROLES = ("molecule", "crystal", "slab", "skewed cell", "small cell")
#: Atoms of a cluster cut from a crystal, and of the smallest crystal that is taken whole.
_CLUSTER, _LEAST_CRYSTAL = 12, 4
#: Lattices ase.build.bulk makes from one element with one lattice constant.
_LATTICES = ("fcc", "bcc", "diamond", "sc")


@dataclass(frozen=True)
class Chosen:
    """The structures of a check-up.

    Attributes:
        structures: name -> structure, for the checks of symmetry and derivatives; all of ROLES, then frames.
        starts: name -> structure near equilibrium, where simulations begin.
        are_known: whether the model is meant for them: False where they are made up from the elements alone.
    """

    structures: dict[str, Atoms]
    starts: dict[str, Atoms]
    are_known: bool


def choose_structures(subject: Subject, frames: Sequence[Frame], *, is_short: bool, seed: int) -> Chosen:
    """The same structures for both forms, but for how many frames stand beside them.

    Args:
        subject: what is checked.
        frames: the user's, those a model file keeps, or none.
        is_short: fewer frames.
        seed: of everything random.
    """
    usable = [
        frame
        for frame in frames
        if len(frame.atoms) > 1 or (len(frame.atoms) and not is_isolated_atom(frame))
        if set(frame.atoms.symbols) <= set(subject.elements)
    ]
    starts = equilibrium_structures(usable, subject, 1 if is_short else 3)
    if not usable:
        return Chosen(made_up_structures(subject, seed), starts, False)
    structures = _from_frames(subject, usable, seed) | frames_to_check(usable, 2 if is_short else 6, seed)
    return Chosen(structures, starts, True)


def _from_frames(subject: Subject, frames: Sequence[Frame], seed: int) -> dict[str, Atoms]:
    """A structure for every role, with the distances there are in the frames."""
    rng = np.random.default_rng(seed)

    def shaken(atoms: Atoms) -> Atoms:
        atoms.positions += rng.normal(scale=_SHAKE, size=atoms.positions.shape)
        return atoms

    by_size = sorted((_bare(frame.atoms) for frame in frames), key=len)
    open_ones = [atoms for atoms in by_size if not atoms.pbc.any()]
    crystals = [atoms for atoms in by_size if atoms.pbc.all()]
    anything = by_size[0]
    # Larger than a dimer or a cell of one atom, where there is one: most of the checks need angles.
    cell = next((atoms for atoms in crystals if len(atoms) >= _LEAST_CRYSTAL), crystals[-1] if crystals else None)
    if open_ones:
        molecule = next((atoms for atoms in open_ones if len(atoms) >= _LEAST_CRYSTAL), open_ones[-1])
    else:
        molecule = cluster(cell if cell is not None else anything)
    crystal = cell if cell is not None else boxed(molecule)
    tiny = min(crystals, key=len, default=None)
    if tiny is None or len(tiny) > _LEAST_CRYSTAL:
        tiny = small_cell(subject, seed)
    crystal = shaken(crystal.copy())
    return {
        "molecule": shaken(molecule.copy()),
        "crystal": crystal,
        "slab": shaken(without_third_period(crystal)),
        "skewed cell": shaken(skewed(crystal)),
        "small cell": shaken(tiny.copy()),
    }


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def cluster(atoms: Atoms, number: int = _CLUSTER) -> Atoms:
    """The atoms nearest to the first one, cut out of a periodic structure: its distances, no period."""
    reach = 4.0
    while True:
        edges = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, reach)
        mine = np.flatnonzero(edges.center == 0)
        if len(mine) >= number - 1 or reach > 20.0:
            break
        reach *= 1.25
    mine = mine[np.argsort(edges.distance[mine], kind="stable")][: number - 1]
    others = edges.neighbor[mine]
    vectors = atoms.positions[others] - atoms.positions[0] + edges.shift[mine] @ atoms.cell.array
    return Atoms(np.append(atoms.numbers[:1], atoms.numbers[others]), np.vstack([np.zeros((1, 3)), vectors]))


def frames_to_check(frames: Sequence[Frame], number: int, seed: int = 0) -> dict[str, Atoms]:
    """A spread over the frames: one of each config_type in turn, each slightly shaken.

    Args:
        frames: of elements the model knows.
        number: at most so many.
        seed: of the shaking, which takes frames off symmetric positions where every force is zero.
    """
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.config_type].append(frame)
    for members in groups.values():  # the largest that are not large, then the large ones by size
        members.sort(key=lambda frame: len(frame.atoms) if len(frame.atoms) > _LARGE else -len(frame.atoms))
    chosen: list[Frame] = []
    place = 0
    while len(chosen) < number and any(place < len(members) for members in groups.values()):
        chosen += [members[place] for members in groups.values() if place < len(members)]
        place += 1
    found = {}
    for frame in chosen[:number]:
        atoms = _bare(frame.atoms)
        atoms.positions += rng.normal(scale=_SHAKE, size=atoms.positions.shape)
        found[frame.source or f"frame {frame.index}"] = atoms
    return found


def equilibrium_structures(frames: Sequence[Frame], subject: Subject, number: int) -> dict[str, Atoms]:
    """Where simulations start: the lowest-energy frame of each composition, or elements in their own lattices.

    Args:
        frames: labelled or not (then the model says which is lowest); may be empty.
        subject: what is checked.
        number: at most so many, the compositions with most frames first.
    """
    groups: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[frame.atoms.symbols.formula.reduce()[0].format("metal")].append(frame)
    found = {}
    for formula, members in sorted(groups.items(), key=lambda item: -len(item[1]))[:number]:
        best = _lowest(members, subject)
        found[f"{formula} ({best.source})" if best.source else formula] = Atoms(
            best.atoms.numbers, best.atoms.positions, cell=best.atoms.cell, pbc=best.atoms.pbc
        )
    if frames:
        return found
    for element in subject.elements:
        state = reference_states[atomic_numbers[element]] or {}
        if state.get("symmetry") in _LATTICES and len(found) < number:
            found[f"{element} ({state['symmetry']})"] = bulk(element, state["symmetry"], a=state["a"], cubic=True)
    return found


def _lowest(members: Sequence[Frame], subject: Subject) -> Frame:
    """The frame of lowest energy per atom, by label where there are labels."""
    labelled = [frame for frame in members if frame.has("energy")]
    if labelled:
        return min(labelled, key=lambda frame: frame.energy / len(frame.atoms))
    return min(members, key=lambda frame: subject.energy(frame.atoms) / len(frame.atoms))


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
