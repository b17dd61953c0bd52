"""What a set of frames covers: a row a group of frames, ranges in words, and a map of energies over volumes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from equipot.report.figures import GREY, SPLIT_COLORS, empty_message, new_figure, plain_label, style
from equipot.report.plots import log_axis
from equipot.report.tables import ABSENT, Column, Table, format_number

if TYPE_CHECKING:
    from equipot.data.frames import Frame

Frames = Mapping[str, Sequence["Frame"]]
_MOST_COMPOSITIONS = 8
_TEMPERATURE_KEYS = ("temperature", "temperature_k", "temp")


def group_table(frames: Frames, atomic_energies: Mapping[str, float]) -> Table:
    """One row a config_type: frames of each split, sizes, volumes, energies and the largest force."""
    splits = [split for split, members in frames.items() if members]
    groups: dict[str, dict[str, list[Frame]]] = defaultdict(lambda: defaultdict(list))
    for split in splits:
        for frame in frames[split]:
            groups[frame.config_type][split].append(frame)
    columns = (
        Column("config_type", is_number=False),
        *(Column(split, "frames") for split in splits),
        Column("atoms"),
        Column("volume", "Å³/atom"),
        Column("energy − E0", "eV/atom"),
        Column("largest force", "eV/Å"),
    )
    rows = []
    for name in sorted(groups):
        members = [frame for split in splits for frame in groups[name][split]]
        forces = [
            np.linalg.norm(frame.forces, axis=1).max()
            for frame in members
            if frame.forces is not None and len(frame.forces)
        ]
        rows.append(
            (
                name or "(none)",
                *(str(len(groups[name][split])) for split in splits),
                _range((len(frame.atoms) for frame in members), 4),
                _range(_volumes(members)),
                _range(_energies(members, atomic_energies)),
                format_number(float(max(forces))) if forces else ABSENT,
            )
        )
    return Table("Frames by group", columns, tuple(rows), note="Ranges from the smallest to the largest value.")


def coverage_facts(frames: Frames, atomic_energies: Mapping[str, float]) -> list[tuple[str, str]]:
    """What the training frames cover, in words: composition, sizes, volumes, energies, forces, temperatures."""
    members = list(frames.get("train") or next((part for part in frames.values() if part), ()))
    if not members:
        return []
    atoms = Counter(symbol for frame in members for symbol in frame.atoms.get_chemical_symbols())
    compositions = Counter(frame.atoms.symbols.formula.reduce()[0].format("metal") for frame in members)
    periods = Counter(int(frame.atoms.pbc.sum()) for frame in members)
    kinds = {
        0: "molecules and clusters",
        1: "periodic in one direction",
        2: "periodic in two directions",
        3: "periodic in three directions",
    }
    shown = ", ".join(f"{name} ({number})" for name, number in compositions.most_common(_MOST_COMPOSITIONS))
    more = len(compositions) - _MOST_COMPOSITIONS
    forces = [np.linalg.norm(frame.forces, axis=1) for frame in members if frame.forces is not None]
    temperatures = [value for frame in members for value in _temperature(frame)]
    facts = [
        ("Atoms by element", ", ".join(f"{name} {number:,}" for name, number in atoms.most_common())),
        ("Compositions (frames)", shown + (f" and {more} more" if more > 0 else "")),
        ("Boundaries", ", ".join(f"{kinds[number]} ({count})" for number, count in sorted(periods.items()))),
        ("Atoms a frame", _range((len(frame.atoms) for frame in members), 4)),
        ("Volume", _with_unit(_range(_volumes(members)), "Å³/atom")),
        ("Energy above the atoms", _with_unit(_range(_energies(members, atomic_energies)), "eV/atom")),
        ("Forces", f"up to {format_number(float(np.concatenate(forces).max()))} eV/Å" if forces else ""),
        ("Temperatures", _with_unit(_range(temperatures, 4), "K")),
    ]
    return [(label, value) for label, value in facts if value and value != ABSENT]


def energy_map(frames: Frames, atomic_energies: Mapping[str, float]) -> list[Figure]:
    """Two panels: where the frames lie in energy and volume (or size), and how large their forces are."""
    figures = []
    with style():
        figure = new_figure(4.6, 3.5)
        axes = figure.subplots()
        periodic = any(np.isfinite(frame.volume) for members in frames.values() for frame in members)
        for split, members in frames.items():
            kept = [frame for frame in members if frame.has("energy")]
            across = [frame.volume / len(frame.atoms) if periodic else len(frame.atoms) for frame in kept]
            axes.scatter(
                across,
                _energies(kept, atomic_energies),
                s=13,
                linewidths=0,
                alpha=0.7,
                rasterized=True,
                color=SPLIT_COLORS.get(split, GREY),
                label=plain_label(split),
            )
        axes.set(xlabel="volume (Å³/atom)" if periodic else "atoms", ylabel="energy − E0 (eV/atom)")
        axes.legend()
        figures.append(figure)
        figure = new_figure(4.6, 3.5)
        axes = figure.subplots()
        sizes = {
            split: np.concatenate(
                [np.linalg.norm(frame.forces, axis=1) for frame in members if frame.forces is not None] or [np.zeros(0)]
            )
            for split, members in frames.items()
        }
        positive = np.concatenate([value[value > 1e-4] for value in sizes.values()] or [np.zeros(0)])
        if positive.size:
            low, high = float(positive.min()), float(positive.max())
            bins = np.geomspace(low, max(high * 1.01, low * 1.1), 45)
            for split, value in sizes.items():
                axes.hist(
                    value[value > 1e-4],
                    bins=bins,
                    histtype="step",
                    linewidth=1.6,
                    color=SPLIT_COLORS.get(split, GREY),
                    label=plain_label(split),
                )
            axes.set_xscale("log")
            axes.set_yscale("log")
            log_axis(axes.xaxis, low, high)
            axes.set(xlabel="length of the force (eV/Å)", ylabel="atoms")
            axes.legend()
        else:
            empty_message(axes, "no forces above 0.0001 eV/Å")
        figures.append(figure)
    return figures


def _volumes(frames: Iterable[Frame]) -> list[float]:
    return [frame.volume / len(frame.atoms) for frame in frames if np.isfinite(frame.volume)]


def _energies(frames: Iterable[Frame], atomic_energies: Mapping[str, float]) -> list[float]:
    return [
        (frame.energy - sum(atomic_energies.get(symbol, 0.0) for symbol in frame.atoms.get_chemical_symbols()))
        / len(frame.atoms)
        for frame in frames
        if frame.has("energy")
    ]


def _temperature(frame: Frame) -> list[float]:
    for key, value in frame.info.items():
        if str(key).lower() in _TEMPERATURE_KEYS and isinstance(value, int | float | np.number) and np.isfinite(value):
            return [float(value)]
    return []


def _range(values: Iterable[float], digits: int = 3) -> str:
    values = [float(value) for value in values]
    if not values:
        return ABSENT
    low, high = (
        format_number(int(value) if value == int(value) and digits == 4 else value, digits)
        for value in (min(values), max(values))
    )
    return low if low == high else f"{low} to {high}"


def _with_unit(text: str, unit: str) -> str:
    return "" if text == ABSENT else f"{text} {unit}"
