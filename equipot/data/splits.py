"""Setting frames aside for validation and test, by fraction within each config_type or by group, the same for a seed.

Equal structures are never separated, so that a split makes no leaks of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equipot.config.schema import SplitConfig
from equipot.data.frames import Frame
from equipot.errors import DataError


@dataclass
class Split:
    """Positions of frames in each part, ascending."""

    train: list[int]
    validation: list[int]
    test: list[int]


def split_frames(
    frames: Sequence[Frame], hashes: Sequence[str], config: SplitConfig, *, validation: bool = True, test: bool = True
) -> Split:
    """Divide frames.

    Args:
        frames: The frames of ``data.train``.
        hashes: Geometry hash of each.
        config: Method, fractions, group key and seed.
        validation, test: Whether frames are wanted for these (False where there are files for them).

    Raises:
        DataError: Frames without the group key, or all with the same value of it.
    """
    fractions = {"validation": config.validation if validation else 0.0, "test": config.test if test else 0.0}
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(int(config.seed)), 7])))
    strata = {"": _by_group(frames, config)} if config.method == "group" else _by_config_type(frames, hashes)
    parts: dict[str, list[list[int]]] = {"train": [], "validation": [], "test": []}
    # What rounding kept back in one config_type is carried to the next: many small ones together give their share.
    owed = dict.fromkeys(fractions, 0.0)
    for name in sorted(strata):
        units = strata[name]
        order = [units[place] for place in generator.permutation(len(units))]
        num_frames = sum(map(len, units))
        for part, fraction in fractions.items():
            owed[part] += fraction * num_frames
            kept: list[list[int]] = []
            for place, unit in enumerate(order):
                is_last = not kept and place == len(order) - 1
                if not is_last and owed[part] >= 0.5 * len(unit):
                    owed[part] -= len(unit)
                    parts[part].append(unit)
                else:
                    kept.append(unit)
            order = kept
        parts["train"] += order
    for part, fraction in fractions.items():  # a part that was asked for is not left empty
        if fraction > 0.0 and not parts[part] and len(parts["train"]) > 1:
            chosen = min(parts["train"], key=lambda unit: (-_num_left(unit, strata, parts["train"]), len(unit)))
            parts["train"].remove(chosen)
            parts[part].append(chosen)
    return Split(
        *(sorted(position for unit in parts[part] for position in unit) for part in ("train", "validation", "test"))
    )


def _num_left(unit: list[int], strata: dict[str, list[list[int]]], training: list[list[int]]) -> int:
    """How many units of this one's config_type (or of all, for groups) are still in training."""
    return next(sum(other in training for other in units) for units in strata.values() if unit in units)


def _by_config_type(frames: Sequence[Frame], hashes: Sequence[str]) -> dict[str, list[list[int]]]:
    first_type: dict[str, str] = {}
    units: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, (frame, value) in enumerate(zip(frames, hashes)):
        units[first_type.setdefault(value, frame.config_type)][value].append(position)
    return {name: list(members.values()) for name, members in units.items()}


def _by_group(frames: Sequence[Frame], config: SplitConfig) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for position, frame in enumerate(frames):
        value = frame.config_type if config.group_key == "config_type" else frame.info.get(config.group_key)
        if value is None:
            keys = ", ".join(sorted(frame.info)) or "none"
            raise DataError(f"{frame.source} has no key '{config.group_key}' (data.split.group_key). It has {keys}.")
        groups[str(value)].append(position)
    if len(groups) < 2:
        raise DataError(
            f"data.split.group_key={config.group_key} has the one value '{next(iter(groups))}' in all "
            f"frames: there is nothing to divide."
        )
    return [groups[name] for name in sorted(groups)]


def record_split(
    frames: dict[str, Sequence[Frame]], hashes: dict[str, Sequence[str]], **settings: Any
) -> dict[str, Any]:
    """The record of which frame went where, for the run folder.

    Args:
        frames: Split name -> frames.
        hashes: Split name -> geometry hash of each.
        settings: Method, seed and the like, put in front.
    """
    record: dict[str, Any] = dict(settings)
    for name, members in frames.items():
        record[name] = [
            {"file": frame.source.rsplit(" frame ", 1)[0], "frame": frame.index, "hash": value}
            for frame, value in zip(members, hashes[name])
        ]
    return record
