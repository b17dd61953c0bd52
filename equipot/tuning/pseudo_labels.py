"""Structures to replay: read or made, and labelled by the frozen base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from equipot.config import Config, KeysConfig, ReplayConfig
from equipot.data.paths import resolve_file
from equipot.data.reading import read_frames
from equipot.errors import ConfigError, ElementError
from equipot.graph import AtomicGraph, from_ase
from equipot.models import Potential
from equipot.training.evaluate import evaluate

if TYPE_CHECKING:
    from equipot.training.evaluate import Prediction

#: config_type of replayed structures.
REPLAY = "replay"
_NO_LABELS = KeysConfig(energy=None, forces=None, stress=None, virial=None)


def replay_graphs(base: Potential, config: Config, directory: Path, *, present: Sequence[str],
                  change: Mapping[str, float]) -> list[AtomicGraph]:
    """Structures with the base's energies, forces and stresses.

    Args:
        base: labels them.
        config: of the fine-tuning, with ``finetune.replay``.
        directory: of the configuration file.
        present: elements in the frames.
        change: element -> eV that the atomic energies of the fine-tuning are above those of the base: the labels are
            those of the base's interaction with the new atomic energies.

    Raises:
        DataError: a file that cannot be used.
        ElementError: an element the base does not know.
        StructureError: a structure no potential can be evaluated on.
    """
    structures = _read(config, directory) if config.finetune.replay.structures else _make(base, config, present)
    known = set(base.elements)
    for source, atoms in structures:
        unknown = sorted(set(atoms.symbols) - known)
        if unknown:
            raise ElementError(f"{source} (finetune.replay) contains {', '.join(unknown)}, which the base model does "
                               "not know: it cannot label it.")
    graphs = [from_ase(atoms, base.cutoff, source=source) for source, atoms in structures]
    predictions = evaluate(base, graphs, device=base.device, collect=True).predictions
    return [_labelled(place, source, atoms, base.cutoff, prediction, change)
            for place, ((source, atoms), prediction) in enumerate(zip(structures, predictions))]


def replay_files(config: Config, directory: Path) -> dict[str, Path]:
    """The files of structures, by the name they have in the configuration."""
    return {name: resolve_file(name, config.data, directory) for name in config.finetune.replay.structures}


def _read(config: Config, directory: Path) -> list[tuple[str, Atoms]]:
    found = []
    for name, path in replay_files(config, directory).items():
        frames = read_frames(path, keys=_NO_LABELS).frames
        found += [(f"{name} frame {frame.index}", frame.atoms) for frame in frames]
    if not found:
        raise ConfigError("finetune.replay.structures holds no structure.")
    return found


def _make(base: Potential, config: Config, present: Sequence[str]) -> list[tuple[str, Atoms]]:
    from equipot.data.prototypes import prototype_structures

    replay: ReplayConfig = config.finetune.replay
    named = {"base": base.elements, "data": tuple(present)}
    chosen = named[replay.elements] if isinstance(replay.elements, str) else replay.elements
    structures = prototype_structures(chosen, replay.number, config.seed)
    return [(f"replayed crystal {k} ({atoms.get_chemical_formula()})", atoms) for k, atoms in enumerate(structures)]


def _labelled(place: int, source: str, atoms: Atoms, cutoff: float, prediction: Prediction,
              change: Mapping[str, float]) -> AtomicGraph:
    energy = prediction.energy + sum(change.get(symbol, 0.0) for symbol in atoms.symbols)
    return from_ase(atoms, cutoff, energy=energy, forces=prediction.forces, stress=prediction.stress,
                    config_type=REPLAY, source=source, frame_id=place)
