"""The structures every package is timed on, and how their atoms move from call to call. Needs ase and numpy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk

#: Every matched model knows all of these, so that one model serves every structure of theirs.
ELEMENTS = ("H", "C", "O", "Si", "Cu", "Ta")
#: Thermal displacement (A, standard deviation of a component) and period (calls) of the motion: a metal at 300 K with
#: steps of 2 fs, so that a neighbour list with a skin is rebuilt about as often as in molecular dynamics.
AMPLITUDE, PERIOD = 0.07, 100.0


def hexanol() -> Atoms:
    """1-hexanol, C6H13OH, 21 atoms: a zigzag chain with tetrahedral hydrogens, not periodic.

    It stands in a cell of 20 A because some packages want one.
    """
    chain = np.array([[1.25 * k, 0.44 * (-1) ** k, 0.0] for k in range(7)])
    symbols, positions = ["C"] * 6 + ["O"], list(chain)
    for k in range(6):
        outward = np.array([0.0, 0.63 * (-1) ** k, 0.0])
        positions += [chain[k] + outward + [0.0, 0.0, side] for side in (-0.89, 0.89)]
    positions += [chain[0] + [-0.89, -0.63, 0.0], chain[6] + [0.79, 0.55 * (-1) ** 7, 0.0]]
    atoms = Atoms(symbols + ["H"] * 14, positions, cell=[20.0] * 3)
    atoms.center()
    return atoms


STRUCTURES: dict[str, tuple[str, Callable[[], Atoms]]] = {
    "ta54": ("Ta, 54 atoms", lambda: bulk("Ta", "bcc", a=3.32, cubic=True) * (3, 3, 3)),
    "ta250": ("Ta, 250 atoms", lambda: bulk("Ta", "bcc", a=3.32, cubic=True) * (5, 5, 5)),
    "ta1000": ("Ta, 1000 atoms", lambda: bulk("Ta", "bcc", a=3.32, cubic=True) * (10, 10, 5)),
    "cu108": ("Cu, 108 atoms", lambda: bulk("Cu", "fcc", a=3.61, cubic=True) * (3, 3, 3)),
    "si64": ("Si, 64 atoms", lambda: bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2)),
    "si512": ("Si, 512 atoms", lambda: bulk("Si", "diamond", a=5.43, cubic=True) * (4, 4, 4)),
    "molecule21": ("1-hexanol, 21 atoms", hexanol),
    "nacl64": ("NaCl, 64 atoms", lambda: bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)),
    "cu250": ("Cu, 250 atoms", lambda: bulk("Cu", "fcc", a=3.61) * (5, 5, 10)),
}
#: Structures of the pretrained models, which know most elements; all else is for the matched ones.
PRETRAINED_CASES = ("nacl64", "cu250")
BATCHES: dict[str, tuple[str, str, int]] = {
    "train-ta54": ("training step, 5 x 54 Ta", "ta54", 5),
    "train-molecules": ("training step, 8 x 21-atom molecule", "molecule21", 8),
}


def title(case: str) -> str:
    """What the table calls a case."""
    return STRUCTURES[case][0] if case in STRUCTURES else BATCHES[case][0]


def num_atoms(case: str) -> int:
    """Atoms a call computes."""
    if case in STRUCTURES:
        return len(STRUCTURES[case][1]())
    _, structure, count = BATCHES[case]
    return count * num_atoms(structure)


class Motion:
    """A structure whose atoms vibrate about their sites; ``place(k)`` puts them where call k has them."""

    def __init__(self, case: str) -> None:
        self.atoms = STRUCTURES[case][1]()
        generator = np.random.default_rng(7)
        self._sites = self.atoms.positions.copy()
        self._amplitude = generator.normal(scale=AMPLITUDE * 2**0.5, size=self._sites.shape)
        self._phase = generator.uniform(0, 2 * np.pi, size=self._sites.shape)

    def place(self, call: int) -> Atoms:
        """Move the atoms; always the same object."""
        angle = 2 * np.pi * call / PERIOD + self._phase
        self.atoms.positions = self._sites + self._amplitude * np.cos(angle)
        return self.atoms


@dataclass(frozen=True)
class Frame:
    """A training frame with made-up labels, the same for every package; stress is None without a cell of atoms."""

    atoms: Atoms
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None


def training_frames(batch: str) -> list[Frame]:
    """The frames of a batch: displaced by 0.1 A, periodic ones strained too."""
    _, structure, count = BATCHES[batch]
    generator, frames = np.random.default_rng(11), []
    for _ in range(count):
        atoms = STRUCTURES[structure][1]()
        periodic = bool(atoms.pbc.all())
        if periodic:
            strain = generator.normal(scale=0.01, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += generator.normal(scale=0.1, size=(len(atoms), 3))
        stress = generator.normal(scale=0.02, size=(3, 3))
        frames.append(
            Frame(
                atoms,
                float(generator.normal(scale=0.1 * len(atoms))),
                generator.normal(size=(len(atoms), 3)),
                (stress + stress.T) / 2 if periodic else None,
            )
        )
    return frames
