"""A tiny base model, and frames of another level of theory to tune it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from equipot.checkpoint import save_model
from equipot.data.frames import Frame
from equipot.data.writing import write_frames
from equipot.graph import AtomicGraph, from_ase
from equipot.models import Potential, PotentialConfig, build_potential

CUTOFF = 4.0
ELEMENTS = ("Ni", "Cu", "Au")
ATOMIC_ENERGIES = {"Ni": -3.0, "Cu": -2.0, "Au": -5.0}
#: What the other level of theory adds to them.
OFFSETS = {"Ni": 0.0, "Cu": 1.5, "Au": -0.7}


def tiny_base(
    architecture: str = "nequip",
    dtype: str = "float64",
    elements: tuple[str, ...] = ELEMENTS,
    seed: int = 0,
    **options: Any,
) -> Potential:
    """A potential with random weights, in evaluation mode."""
    sizes = {"num_channels": 6, "l_max": 2, "num_layers": 2, "radial_hidden": (8,), **options}
    config = PotentialConfig(architecture, elements, CUTOFF, 12.0, dtype=dtype, options=sizes)
    return build_potential(
        config,
        atomic_energies={element: ATOMIC_ENERGIES.get(element, -4.0) for element in elements},
        scale=0.7,
        shift=-0.5,
        seed=seed,
    ).eval()


def crystals(count: int, elements: tuple[str, str] = ("Cu", "Au"), seed: int = 0) -> list[Atoms]:
    """Rattled fcc crystals of four atoms with one, two or three of the second element."""
    random = np.random.default_rng(seed)
    structures = []
    for k in range(count):
        atoms = bulk(elements[0], "fcc", a=3.8 + 0.1 * random.random(), cubic=True)
        for place in range(k % 4):
            atoms.symbols[place] = elements[1]
        atoms.positions += random.normal(scale=0.08, size=atoms.positions.shape)
        structures.append(atoms)
    return structures


def labelled(structures: list[Atoms], teacher: Potential, offsets: dict[str, float] | None = None) -> list[Frame]:
    """Frames labelled by a potential, its energies moved by so much an atom of each element."""
    frames = []
    for k, atoms in enumerate(structures):
        output = teacher(from_ase(atoms, teacher.cutoff))
        moved = sum((offsets or {}).get(symbol, 0.0) for symbol in atoms.symbols)
        frames.append(
            Frame(
                atoms,
                float(output.energy) + moved,
                output.forces.numpy(),
                output.stress[0].numpy(),
                source=f"frames.xyz frame {k}",
                index=k,
            )
        )
    return frames


def graphs_of(frames: list[Frame]) -> list[AtomicGraph]:
    """Their graphs."""
    return [
        from_ase(
            frame.atoms,
            CUTOFF,
            energy=frame.energy,
            forces=frame.forces,
            stress=frame.stress,
            source=frame.source,
            frame_id=frame.index,
        )
        for frame in frames
    ]


def write_case(folder: Path, base: Potential, frames: list[Frame]) -> tuple[Path, Path]:
    """The base and the frames as files."""
    model, data = folder / "base.eqp", folder / "frames.xyz"
    save_model(model, base, metadata={"name": "tiny", "licence": "MIT", "citation": "nobody"})
    write_frames(data, frames)
    return model, data


def job(data: Path, folder: Path, **sections: Any) -> dict[str, Any]:
    """A short fine-tuning as a mapping."""
    result: dict[str, Any] = {
        "run_directory": str(folder),
        "seed": 1,
        "device": "cpu",
        "data": {"root": str(data.parent), "train": [data.name], "split": {"validation": 0.2, "test": 0.2}},
        "training": {"epochs": 3, "batch_size": 4},
        "schedule": {"warmup_steps": 2},
    }
    for name, value in sections.items():
        result[name] = {**result.get(name, {}), **value} if isinstance(value, dict) else value
    return result
