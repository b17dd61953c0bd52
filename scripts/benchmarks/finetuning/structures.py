"""Frames of one level of theory: rattled and strained crystals that a model labels, or subsets of a published set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from equipot.data import read_frames, write_frames
from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.finetuning.pseudo_labels import labelled_frames
from equipot.models import Potential

Maker = Callable[[np.random.Generator], tuple[str, Atoms]]


def _titania(rng: np.random.Generator) -> tuple[str, Atoms]:
    """Rutile or anatase, 12 atoms."""
    if rng.random() < 0.5:
        return "rutile", crystal(
            ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90]
        ) * (1, 1, 2)
    return "anatase", crystal(
        ["Ti", "O"], [(0, 0, 0), (0, 0, 0.208)], spacegroup=141, cellpar=[3.785, 3.785, 9.514, 90, 90, 90]
    )


def _nickel_aluminium(rng: np.random.Generator) -> tuple[str, Atoms]:
    """B2, L1_2 or a random solid solution on the fcc lattice, 16 atoms."""
    kind = rng.choice(["B2", "L1_2", "solid solution"])
    if kind == "B2":
        return kind, bulk("NiAl", "cesiumchloride", a=2.887) * (2, 2, 2)
    if kind == "L1_2":
        atoms = bulk("Ni", "fcc", a=3.57, cubic=True)
        atoms.symbols[0] = "Al"
        return kind, atoms * (2, 2, 1)
    atoms = bulk("Ni", "fcc", a=1.0, cubic=True) * (2, 2, 1)
    atoms.symbols[rng.permutation(16)[: int(rng.integers(0, 17))]] = "Al"
    fraction = float(np.mean(atoms.symbols == "Al"))
    atoms.set_cell(atoms.cell.array * (3.52 + 0.53 * fraction), scale_atoms=True)
    return kind, atoms


#: Name -> maker of a perfect crystal of one of the system's phases.
SYSTEMS: dict[str, Maker] = {"TiO2": _titania, "Ni-Al": _nickel_aluminium}


def disturbed(make: Maker, number: int, seed: int) -> Iterator[Frame]:
    """Crystals with displacements (standard deviation 0.02 to 0.15 Angstrom), strains (2 %) and volumes (4 % in
    length)."""
    rng = np.random.default_rng([seed, 20251])
    for index in range(number):
        name, atoms = make(rng)
        strain = rng.normal(scale=0.02, size=(3, 3))
        deformation = np.eye(3) * (1.0 + rng.uniform(-0.04, 0.04)) + 0.5 * (strain + strain.T)
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        atoms.positions += rng.uniform(0.02, 0.15) * rng.normal(size=atoms.positions.shape)
        yield Frame(atoms, config_type=name, index=index, source=f"{name} {index}")


@dataclass(frozen=True)
class Pool:
    """Frames to draw from, and those errors are counted on.

    Attributes:
        name: of the system.
        train: to draw from; validation: learning rates are chosen on these; test: read once a run.
        isolated: isolated-atom frames, given to every training.
    """

    name: str
    train: list[Frame]
    validation: list[Frame]
    test: list[Frame]
    isolated: list[Frame]

    def subset(self, number: int, seed: int) -> list[Frame]:
        """So many frames, each group represented as evenly as it can be; a smaller subset of a seed is part of a
        larger one."""
        rng = np.random.default_rng([seed, 77])
        groups: dict[str, list[Frame]] = defaultdict(list)
        for place in rng.permutation(len(self.train)):
            groups[self.train[place].config_type].append(self.train[place])
        chosen: list[Frame] = []
        while len(chosen) < min(number, len(self.train)):
            chosen += [members.pop() for members in groups.values() if members][: number - len(chosen)]
        return chosen


def labelled_pool(name: str, teacher: Potential, folder: Path, sizes: tuple[int, int, int]) -> Pool:
    """Frames of a system labelled by a model, from their files where they are there already."""
    parts = []
    for seed, (part, size) in enumerate(zip(("train", "validation", "test"), sizes)):
        path = folder / f"{name}-{part}-{size}.xyz"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_frames(path, labelled_frames(teacher, list(disturbed(SYSTEMS[name], size, seed))))
        parts.append(read_frames(path).frames)
    return Pool(name, *parts, isolated=[])


def published_pool(folder: Path, train: str, validation: str, test: str) -> Pool:
    """Frames of a published set."""
    parts = [read_frames(folder / file).frames for file in (train, validation, test)]
    isolated = [frame for frame in parts[0] if is_isolated_atom(frame)]
    train, validation, test = ([frame for frame in frames if not is_isolated_atom(frame)] for frames in parts)
    return Pool(folder.name, train, validation, test, isolated)
