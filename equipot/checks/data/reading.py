"""Group R: frames that cannot be used, labels that are missing or placeholders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipot.checks.data.registry import Context, check, file_name
from equipot.checks.data.result import Finding, Place
from equipot.data.frames import LABELS, Frame
from equipot.data.isolated import is_isolated_atom
from equipot.data.states import varying_states
from equipot.errors import StructureError
from equipot.graph import neighbor_list


@check("R", "reading", "every frame can be used")
def reading(context: Context) -> Iterator[Finding]:
    """Frames that were left out, and what reading the file said."""
    bad = [
        Place(file_name(file), frame.index, text=frame.reason)
        for file in context.files
        for frame in file.report.skipped
    ]
    if bad:
        yield Finding(
            "fail",
            f"{len(bad)} frames cannot be used and are left out of what follows",
            len(bad),
            0,
            "frames",
            tuple(bad),
            "correct the file, or train with data.on_bad=skip",
        )
    for file in context.files:
        for warning in file.report.warnings:
            # Sign and unit of the stress have a check of their own, which names groups.
            if "stress times" not in warning and "contradict the declared sign" not in warning:
                yield Finding("warn", f"{file_name(file)}: {warning}")
    for sentence in varying_states(context.frames):
        yield Finding("warn", sentence)


@check("R", "coverage", "every frame has its labels")
def coverage(context: Context) -> Iterator[Finding]:
    """Labels that no frame has, or only some."""
    for label in LABELS:
        wanted = [
            position
            for position, frame in enumerate(context.frames)
            if label == "energy" or (not is_isolated_atom(frame) and (label != "stress" or np.isfinite(frame.volume)))
        ]
        missing = [position for position in wanted if not context.frames[position].has(label)]
        if wanted and len(missing) == len(wanted):
            there = sorted({key for file in context.files for keys in file.report.available.values() for key in keys})
            yield Finding(
                "note" if label == "stress" else "fail",
                f"no frame has {label}; keys that are there: {', '.join(there[:40]) or 'none'}",
                advice=f"name the key with --keys {label}=NAME" if there and label != "stress" else "",
            )
        elif missing:
            groups = context.by_group(missing)
            names = ", ".join(f"{name or '(none)'} {len(members)}" for name, members in list(groups.items())[:8])
            yield Finding(
                "warn",
                f"{len(missing)} of {len(wanted)} frames have no {label} ({names})",
                len(missing),
                0,
                "frames",
                context.places(missing),
                "they are masked in the loss; nothing is learned there",
            )


@check("R", "placeholders", "labels are not all zero")
def placeholders(context: Context) -> Iterator[Finding]:
    """Forces or stresses that are exactly zero everywhere, or energies that are all one number."""
    for label in ("forces", "stress"):
        having = [
            position
            for position, frame in enumerate(context.frames)
            if frame.has(label) and not is_isolated_atom(frame)
        ]
        zero = [position for position in having if not getattr(context.frames[position], label).any()]
        if (
            label == "forces"
            and len(zero) == len(having)
            and all(_is_symmetric(context.frames[position]) for position in zero[:: max(1, len(zero) // 20)])
        ):
            continue  # perfect crystals: no atom can be pulled anywhere
        if len(having) > 1 and len(zero) == len(having):
            yield Finding(
                "warn",
                f"the {label} of all {len(having)} frames is exactly zero",
                places=(context.place(zero[0], label=label),),
                advice=f"a placeholder? Leave it out: --keys {label}=null",
            )
        elif label == "stress" and len(zero) > 1:
            yield Finding(
                "warn",
                f"the stress of {len(zero)} frames is exactly zero",
                len(zero),
                0,
                "frames",
                context.places(zero, label=label),
                "a placeholder? Give these frames config_stress_weight=0",
            )
    energies = [context.frames[position].energy for position in context.bound if context.frames[position].has("energy")]
    if len(energies) > 2 and np.ptp(energies) == 0.0:
        yield Finding(
            "warn",
            f"the energy of all {len(energies)} frames is {energies[0]:g} eV",
            advice="a placeholder? Look at the key it is read from",
        )


def _is_symmetric(frame: Frame) -> bool:
    """Whether any pair potential would give zero forces: every atom sees the same on opposite sides."""
    atoms = frame.atoms
    try:
        found = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, 5.0, max_edges=2_000_000)
    except StructureError:
        return False
    vectors = atoms.positions[found.neighbor] - atoms.positions[found.center] + found.shift @ atoms.cell.array
    pulls = np.exp(-found.distance)[:, None] * (1.0 - (found.distance / 5.0) ** 2)[:, None] * vectors
    totals = np.zeros((len(atoms), 3))
    np.add.at(totals, found.center, pulls)
    return bool(np.abs(totals).max(initial=0.0) < 1e-4)
