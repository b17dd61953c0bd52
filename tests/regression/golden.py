"""Writes the golden files: one model of each architecture in the present format, with what it predicts.

A golden file is written once, when a format version is new, and never again: the tests prove for ever that it loads and
predicts the same. Run as ``python -m tests.regression.golden``; it refuses to replace a file unless told ``--replace``,
which is right only before the version was ever released.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from equipot.checkpoint import save_model
from equipot.checkpoint.migrations import FORMAT_VERSION
from equipot.graph import from_ase
from equipot.models import PotentialConfig, build_potential, resolve_options

FOLDER = Path(__file__).parents[1] / "data" / "golden"
CUTOFF = 4.0
#: Of the files that hold several, the one whose predictions are recorded.
HEAD = "golden"
OPTIONS = {
    "mace": {"num_channels": 4, "l_max": 2, "feature_l_max": 1, "radial_hidden": [8]},
    # Rotations only and three layers: the couplings whose sign e3nn has changed take part.
    "nequip": {
        "num_channels": 4,
        "l_max": 2,
        "feature_l_max": 2,
        "num_layers": 3,
        "parity": "none",
        "radial": "mlp",
        "radial_hidden": [8],
    },
}


def structures() -> dict[str, Atoms]:
    """Structures without symmetry: a molecule and an alloy with a cell below twice the cutoff."""
    ethanol, alloy = molecule("CH3CH2OH"), bulk("Cu", cubic=True, a=3.7)
    alloy.symbols[:2] = "Au"
    for atoms in (ethanol, alloy):
        atoms.positions += np.random.default_rng(7).normal(scale=0.1, size=atoms.positions.shape)
    alloy.set_cell(alloy.cell.array @ [[1, 0.03, 0], [0, 1, 0.01], [0.02, 0, 1]], scale_atoms=True)
    return {"ethanol": ethanol, "alloy": alloy}


def write(architecture: str) -> None:
    """Write one model file and the JSON with its predictions."""
    config = PotentialConfig(
        architecture=architecture,
        elements=("H", "C", "O", "Cu", "Au"),
        cutoff=CUTOFF,
        avg_num_neighbors=12.0,
        dtype="float64",
        zbl=True,
        options=resolve_options(architecture, "small", OPTIONS[architecture]),
    )
    energies = dict(zip(config.elements, (-1.0, -2.0, -3.0, -4.0, -5.0)))
    potential = build_potential(config, atomic_energies=energies, scale=3.0, shift=-0.5, seed=1)
    path = FOLDER / f"model_v{FORMAT_VERSION}_{architecture}.eqp"
    other = build_potential(config, atomic_energies=dict.fromkeys(config.elements, 0.5), scale=2.0, seed=2)
    other.architecture.embedding = potential.architecture.embedding
    other.metadata = {"name": "another head"}
    save_model(
        path,
        potential,
        heads={"other": other},
        metadata={"licence": "CC0", "name": "golden file; weights are random", "head": HEAD},
    )
    record = {}
    for name, atoms in structures().items():
        output = potential(from_ase(atoms, CUTOFF))
        record[name] = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
            "energy": output.energy.item(),
            "forces": output.forces.tolist(),
            "stress": output.stress[0].tolist() if atoms.pbc.all() else None,
        }
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in OPTIONS:
        if (FOLDER / f"model_v{FORMAT_VERSION}_{name}.eqp").exists() and "--replace" not in sys.argv:
            sys.exit(f"The golden file of version {FORMAT_VERSION} for {name} exists; a released one stays as it is.")
        write(name)
