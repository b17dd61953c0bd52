"""Setting frames aside for validation and test, by fraction within each config_type or by group, the same for a seed.

What would make held-out errors too good is never separated: copies of one structure up to symmetry, and frames of a
trajectory that are nearly the one before. An element's only carriers stay in training.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from equipot.config.schema import SplitConfig
from equipot.data.copies import Copy
from equipot.data.frames import Frame
from equipot.data.geometry_hash import geometry_hash
from equipot.data.trajectories import NEAR_DISPLACEMENT, trajectory_runs
from equipot.errors import DataError

_PARTS = ("train", "validation", "test")
#: Most frames of a trajectory that stay together, as a share of what is set aside of their config_type; blocks of few
#: frames are no smaller for it.
_BLOCK, _SMALL_BLOCK = 0.5, 10
_MOST_NAMED = 8


@dataclass
class Split:
    """Positions of frames in each part, ascending, and sentences on what was kept together or in training."""

    train: list[int]
    validation: list[int]
    test: list[int]
    notes: list[str] = field(default_factory=list)


def split_frames(
    frames: Sequence[Frame],
    copies: Mapping[int, Copy],
    config: SplitConfig,
    *,
    validation: bool = True,
    test: bool = True,
) -> Split:
    """Divide frames.

    Args:
        frames: The frames of ``data.train``.
        copies: Those that repeat an earlier one, from :func:`equipot.data.copies.find_copies`.
        config: Method, fractions, group key and seed.
        validation, test: Whether frames are wanted for these (False where there are files for them).

    Raises:
        DataError: Frames without the group key, or all with the same value of it.
    """
    fractions = {"validation": config.validation if validation else 0.0, "test": config.test if test else 0.0}
    if config.method == "group":
        units, notes = _by_group(frames, config), []
        strata = {"": list(range(len(units)))}
    else:
        units, notes = _together(frames, copies, fractions)
        strata = defaultdict(list)
        for number, unit in enumerate(units):
            strata[frames[unit[0]].config_type].append(number)
    carried = [_elements(frames, unit) for unit in units]
    carriers = Counter(number for elements in carried for number in elements)
    pinned = {number for number, elements in enumerate(carried) if any(carriers[element] == 1 for element in elements)}
    order, part_of = _draw(units, strata, fractions, config.seed, pinned)
    brought = _bring_back(units, carried, part_of)
    fixed = pinned | brought.keys()
    _fill_empty(units, strata, fractions, order, part_of, fixed)
    if fixed and any(fractions.values()) and len(units) > 1:
        rare = {element for element, number in carriers.items() if number == 1}.union(*brought.values())
        notes.append(_carrier_note(frames, [position for number in sorted(fixed) for position in units[number]], rare))
    places: dict[str, list[int]] = {part: [] for part in _PARTS}
    for unit, part in zip(units, part_of):
        places[part] += unit
    return Split(*(sorted(places[part]) for part in _PARTS), notes)


def _draw(
    units: Sequence[Sequence[int]],
    strata: Mapping[str, Sequence[int]],
    fractions: Mapping[str, float],
    seed: int,
    pinned: set[int],
) -> tuple[list[int], list[str]]:
    """Units in the order of chance, and the part of each by its number."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([abs(int(seed)), 7])))
    part_of, drawn = ["train"] * len(units), []
    # What rounding kept back in one config_type is carried to the next: many small ones together give their share.
    owed = dict.fromkeys(fractions, 0.0)
    for name in sorted(strata):
        members = strata[name]
        order = [members[place] for place in generator.permutation(len(members))]
        drawn += order
        num_frames = sum(len(units[number]) for number in members)
        keeps_one = any(number in pinned for number in order)
        for part, fraction in fractions.items():
            owed[part] += fraction * num_frames
            kept: list[int] = []
            for place, number in enumerate(order):
                is_last = not kept and not keeps_one and place == len(order) - 1
                if number not in pinned and not is_last and owed[part] >= 0.5 * len(units[number]):
                    owed[part] -= len(units[number])
                    part_of[number] = part
                else:
                    kept.append(number)
            order = kept
    return drawn, part_of


def _fill_empty(
    units: Sequence[Sequence[int]],
    strata: Mapping[str, Sequence[int]],
    fractions: Mapping[str, float],
    order: Sequence[int],
    part_of: list[str],
    fixed: set[int],
) -> None:
    """Give a part that was asked for and got nothing the smallest unit of the config_type with most in training."""
    stratum_of = {number: name for name, members in strata.items() for number in members}
    for part, fraction in fractions.items():
        if fraction == 0.0 or part in part_of:
            continue
        training = [number for number in order if part_of[number] == "train"]
        left = Counter(stratum_of[number] for number in training)
        free = [number for number in training if number not in fixed]
        if len(training) > 1 and free:
            part_of[min(free, key=lambda number: (-left[stratum_of[number]], len(units[number])))] = part


def _bring_back(units: Sequence[Sequence[int]], carried: Sequence[set[int]], part_of: list[str]) -> dict[int, set[int]]:
    """Give training back the elements that chance left it without: the units, and what each is there for."""
    trained = set().union(*(elements for elements, part in zip(carried, part_of) if part == "train"))
    brought: dict[int, set[int]] = {}
    for number in sorted(range(len(units)), key=lambda number: (-len(units[number]), number)):
        missing = carried[number] - trained
        if part_of[number] != "train" and missing:
            part_of[number] = "train"
            trained |= carried[number]
            brought[number] = missing
    return brought


def _carrier_note(frames: Sequence[Frame], positions: Sequence[int], rare: set[int]) -> str:
    symbols = [chemical_symbols[element] for element in sorted(rare)]
    more = f" and {len(symbols) - _MOST_NAMED} more" if len(symbols) > _MOST_NAMED else ""
    return (
        f"kept in training: {len(positions)} frames, the only ones with {', '.join(symbols[:_MOST_NAMED])}{more} "
        f"(first: {frames[positions[0]].source}), since a potential knows only elements it was trained on"
    )


def _elements(frames: Sequence[Frame], unit: Sequence[int]) -> set[int]:
    return set(np.unique(np.concatenate([frames[position].atoms.numbers for position in unit])).tolist())


def _together(
    frames: Sequence[Frame], copies: Mapping[int, Copy], fractions: Mapping[str, float]
) -> tuple[list[list[int]], list[str]]:
    """Sets of positions that may not be separated, in order of their first frames, and what is to be said of them."""
    structures: dict[int, list[int]] = {}
    for position in range(len(frames)):
        first = copies[position].of if position in copies else position
        structures.setdefault(first, []).append(position)
    # Copies follow the frame they repeat: a trajectory that is there twice is cut at the same places.
    runs = [[position for position in run if position in structures] for run in trajectory_runs(frames)]
    pieces, num_cut = _cut([run for run in runs if run], structures, frames, fractions)
    units = [sorted(position for first in piece for position in structures[first]) for piece in pieces]
    notes = []
    if copies:
        number = len({copy.of for copy in copies.values()})
        turned = sum(not copy.is_exact for copy in copies.values())
        notes.append(f"{len(copies)} copies of {number} structures ({turned} of them up to symmetry)")
    several = [piece for piece in pieces if len(piece) > 1]
    if several:
        notes.append(
            f"{sum(map(len, several))} frames in {len(several)} stretches of trajectories with steps below "
            f"{NEAR_DISPLACEMENT:g} A"
            + (f" ({num_cut} longer ones were cut into contiguous blocks to be divided at all)" if num_cut else "")
        )
    return sorted(units), [f"kept on one side of the split: {'; '.join(notes)}"] if notes else []


def _cut(
    runs: Sequence[list[int]],
    structures: Mapping[int, Sequence[int]],
    frames: Sequence[Frame],
    fractions: Mapping[str, float],
) -> tuple[list[list[int]], int]:
    """Cut runs that are longer than half of what is set aside of their config_type into blocks as equal as may be.

    Returns:
        Runs and blocks, and how many runs were cut.
    """
    counts = Counter(frame.config_type for frame in frames)
    smallest = min((fraction for fraction in fractions.values() if fraction > 0.0), default=1.0)
    pieces: list[list[int]] = []
    num_cut = 0
    for run in runs:
        part = smallest * counts[frames[run[0]].config_type]
        most = max(1.0, _BLOCK * part, min(smallest * len(frames), _SMALL_BLOCK))
        ends = np.cumsum([len(structures[position]) for position in run])
        number = int(np.ceil(ends[-1] / most))
        block = np.minimum((ends - 0.5) * number / ends[-1], number - 1).astype(int)
        cut = [run[begin:end] for begin, end in pairwise([0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(run)])]
        num_cut += len(cut) > 1
        pieces += cut
    return pieces, num_cut


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
            {"file": _file_of(frame), "frame": frame.index, "hash": value}
            for frame, value in zip(members, hashes[name])
        ]
    return record


def _file_of(frame: Frame) -> str:
    return frame.source.rsplit(" frame ", 1)[0]


def stored_split(frames: Sequence[Frame], record: Mapping[str, Any], made: Sequence[str]) -> Split:
    """Divide frames as a record says, whatever way of dividing made it.

    Args:
        frames: The frames of ``data.train``.
        record: From :func:`record_split`.
        made: Which of ``validation`` and ``test`` are set aside of these frames.

    Raises:
        DataError: A frame that the record does not know.
    """
    part_of = {
        (entry["file"], entry["frame"], entry["hash"]): part
        for part in ("train", *made)
        for entry in record.get(part, ())
    }
    places: dict[str, list[int]] = {part: [] for part in _PARTS}
    for position, frame in enumerate(frames):
        key = _file_of(frame), frame.index, geometry_hash(frame.atoms)
        if key not in part_of:
            raise DataError(
                f"{frame.source} is not in the split the run began with (splits.json): the files, or what is read of "
                f"them, have changed since. Take the files the run began with, or start a new run."
            )
        places[part_of[key]].append(position)
    return Split(*(places[part] for part in _PARTS))
