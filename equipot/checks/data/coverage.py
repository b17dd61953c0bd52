"""Group C: what the frames cover: elements, compositions, neighbours, and what the cutoff leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding

#: Elements with fewer atoms or frames than these are hardly learned.
_FEW_ATOMS, _FEW_FRAMES = 10, 5


@check("C", "elements", "every element is there often enough")
def elements(context: Context) -> Iterator[Finding]:
    """Frames and atoms of each element, and pairs of elements that never meet."""
    atoms: Counter[str] = Counter()
    frames: dict[str, list[int]] = {}
    for position in context.bound:
        counted = Counter(context.frames[position].atoms.get_chemical_symbols())
        atoms.update(counted)
        for symbol in counted:
            frames.setdefault(symbol, []).append(position)
    context.curves["elements"] = {symbol: (len(frames.get(symbol, [])), atoms[symbol]) for symbol in context.elements}
    rare = [
        symbol
        for symbol in context.elements
        if symbol in frames
        and len(context.bound) > _FEW_FRAMES
        and (len(frames[symbol]) < _FEW_FRAMES or atoms[symbol] < _FEW_ATOMS)
    ]
    if rare:
        yield Finding(
            "warn",
            f"{len(rare)} of {len(context.elements)} elements are in fewer than {_FEW_FRAMES} "
            f"frames or "
            f"{_FEW_ATOMS} atoms: {', '.join(f'{symbol} ({len(frames[symbol])})' for symbol in rare[:20])}"
            f"{', ...' if len(rare) > 20 else ''}",
            len(rare),
            0,
            "elements",
            context.places(frames[rare[0]]),
            "a potential learns little of them: add frames, or leave them out",
        )
    only = [symbol for symbol in context.elements if symbol not in frames]
    if only and context.bound:
        yield Finding("note", f"{', '.join(only)} is there as isolated atoms only")


@check("C", "compositions", "compositions")
def compositions(context: Context) -> Iterator[Finding]:
    """How the frames spread over compositions; energies and volumes for the plot."""
    counted = Counter(context.formulas[position] for position in context.bound)
    context.curves["compositions"] = dict(counted.most_common())
    curves: dict[str, list] = {}
    for position in context.bound:
        frame = context.frames[position]
        if frame.has("energy") and np.isfinite(frame.volume):
            curves.setdefault(context.formulas[position], []).append(
                (frame.config_type, frame.volume / len(frame.atoms), frame.energy / len(frame.atoms))
            )
    context.curves["volumes"] = {name: curves[name] for name, _ in counted.most_common() if name in curves}
    if counted:
        shown = ", ".join(f"{name} {number}" for name, number in counted.most_common(8))
        yield Finding("note", f"{len(counted)} compositions: {shown}{', ...' if len(counted) > 8 else ''}")


@check("C", "neighbours", "neighbours within the cutoff")
def neighbours(context: Context) -> Iterator[Finding]:
    """Smallest, median and largest number of neighbours of each element."""
    counts = {symbol: found for symbol, found in context.survey.neighbor_counts.items() if len(found)}
    context.curves["neighbours"] = counts
    if counts:
        shown = ", ".join(
            f"{symbol} {found.min()} to {found.max()} (median {np.median(found):.0f})"
            for symbol, found in list(counts.items())[:8]
        )
        yield Finding("note", f"within {context.cutoff:g} A: {shown}{', ...' if len(counts) > 8 else ''}")


@check("C", "cutoff", "the cutoff joins the atoms of a frame")
def cutoff(context: Context) -> Iterator[Finding]:
    """Atoms without any neighbour, and parts that do not see each other."""
    survey = context.survey
    bound = set(context.bound)
    lonely = [(position, atoms) for position, atoms in survey.lonely.items() if position in bound]
    if lonely:
        number = sum(len(atoms) for _, atoms in lonely)
        yield Finding(
            "warn",
            f"{number} atoms of {len(lonely)} frames have no neighbour within {context.cutoff:g} A",
            number,
            0,
            "atoms",
            tuple(
                context.place(
                    position,
                    atom=int(atoms[0]),
                    text=(
                        f"{context.frames[position].atoms.get_chemical_symbols()[int(atoms[0])]}, {len(atoms)} "
                        f"such atoms in "
                        f"the frame"
                    ),
                )
                for position, atoms in lonely
            ),
            "the potential sees them as isolated atoms: take a larger cutoff (--cutoff), or leave them out",
        )
    apart = [position for position in survey.fragments if position not in survey.lonely]
    if apart:
        yield Finding(
            "note",
            f"{len(apart)} frames fall into parts farther apart than {context.cutoff:g} A, whose "
            f"interaction "
            f"cannot be learned",
            len(apart),
            None,
            "frames",
            tuple(context.place(position, text=f"{survey.fragments[position]} parts") for position in apart),
        )
