"""Structures that a finished potential labels: read or made to be replayed, or given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from equipot.config import Config, KeysConfig, ReplayConfig
from equipot.data.datasets import frame_to_graph
from equipot.data.frames import Frame
from equipot.data.paths import resolve_file
from equipot.data.prototypes import prototype_structures
from equipot.data.reading import read_frames
from equipot.errors import ConfigError, DataError, ElementError
from equipot.graph import AtomicGraph
from equipot.models import Potential
from equipot.training.evaluate import evaluate

#: config_type of replayed structures.
REPLAY = "replay"
#: A potential is not sound where it predicts more than this (eV/Angstrom), and nothing is lost there.
SOUND_FORCE = 30.0
_NO_LABELS = KeysConfig(energy=None, forces=None, stress=None, virial=None)


def replay_graphs(
    base: Potential,
    config: Config,
    directory: Path,
    *,
    known: Sequence[str],
    present: Sequence[str],
    change: Mapping[str, float],
) -> list[AtomicGraph]:
    """Structures with the base's energies, forces and stresses.

    Args:
        base: labels them.
        config: of the fine-tuning, with ``finetune.replay``.
        directory: of the configuration file.
        known: elements that may be in them: those the base was trained on.
        present: elements in the frames.
        change: element -> eV that the atomic energies of the fine-tuning are above those of the base: the labels are
            those of the base's interaction with the new atomic energies.

    Raises:
        DataError: a file that cannot be used.
        ElementError: an element the base does not know.
        StructureError: a structure no potential can be evaluated on.
    """
    is_made = not config.finetune.replay.structures
    frames = _make(known, config, present) if is_made else _read(config, directory)
    for frame in frames:
        unknown = sorted(set(frame.atoms.symbols) - set(known))
        if unknown:
            raise ElementError(
                f"{frame.source} (finetune.replay) contains {', '.join(unknown)}, which the base does "
                "not know or finetune.elements drops: it cannot be replayed."
            )
    labelled = [frame for frame in labelled_frames(base, frames, change) if is_sound(frame)]
    if not labelled:
        raise DataError(
            f"finetune.replay: the base predicts forces above {SOUND_FORCE:g} eV/Å in every structure, so "
            "that none is worth replaying."
        )
    return [frame_to_graph(frame, base.cutoff, frame_id=place) for place, frame in enumerate(labelled)]


def is_sound(frame: Frame) -> bool:
    """Whether a potential's own labels can be taken for what it has learned: finite, and no absurd force."""
    return bool(
        np.isfinite(frame.energy)
        and np.isfinite(frame.forces).all()
        and np.abs(frame.forces).max(initial=0.0) <= SOUND_FORCE
    )


def labelled_frames(
    potential: Potential, frames: Sequence[Frame], change: Mapping[str, float] | None = None
) -> list[Frame]:
    """Frames with what a potential says of them as their labels.

    Args:
        potential: knows their elements.
        frames: left as they are; labels they have are not looked at.
        change: element -> eV that is added to the energies for every atom of it.

    Raises:
        StructureError: a structure no potential can be evaluated on.
    """
    change = change or {}
    graphs = [frame_to_graph(Frame(frame.atoms, source=frame.source), potential.cutoff) for frame in frames]
    predictions = evaluate(potential, graphs, device=potential.device, collect=True).predictions
    return [
        replace(
            frame,
            energy=prediction.energy + sum(change.get(symbol, 0.0) for symbol in frame.atoms.symbols),
            forces=prediction.forces,
            stress=prediction.stress if np.isfinite(prediction.stress).all() else None,
        )
        for frame, prediction in zip(frames, predictions)
    ]


def replay_files(config: Config, directory: Path) -> dict[str, Path]:
    """The files of structures, by the name they have in the configuration."""
    return {name: resolve_file(name, config.data, directory) for name in config.finetune.replay.structures}


def _read(config: Config, directory: Path) -> list[Frame]:
    found = []
    for name, path in replay_files(config, directory).items():
        found += [
            Frame(frame.atoms, config_type=REPLAY, source=f"{name} frame {frame.index}")
            for frame in read_frames(path, keys=_NO_LABELS).frames
        ]
    if not found:
        raise ConfigError("finetune.replay.structures holds no structure.")
    return found


def _make(known: Sequence[str], config: Config, present: Sequence[str]) -> list[Frame]:
    replay: ReplayConfig = config.finetune.replay
    named = {"base": tuple(known), "data": tuple(element for element in present if element in known)}
    chosen = named[replay.elements] if isinstance(replay.elements, str) else replay.elements
    structures = prototype_structures(chosen, replay.number, config.seed)
    return [
        Frame(atoms, config_type=REPLAY, source=f"replayed crystal {k} ({atoms.get_chemical_formula()})")
        for k, atoms in enumerate(structures)
    ]
