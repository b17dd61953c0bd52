"""Group R: frames that cannot be used, labels that are missing or placeholders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipot.checks.data.registry import Context, check, file_name
from equipot.checks.data.result import Finding, Place
from equipot.data.frames import LABELS, FrameFile
from equipot.data.held_forces import describe_held
from equipot.data.isolated import is_isolated_atom
from equipot.data.states import varying_states

#: In warnings of the reader that a check of their own repeats.
_HAVE_CHECKS = ("stress times", "contradict the declared sign", "not taken as labels", "not taken as a label")


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
            # Sign and unit of the stress, and placeholders, have checks of their own, which name groups and frames.
            if not any(words in warning for words in _HAVE_CHECKS):
                yield Finding("warn", f"{file_name(file)}: {warning}")
    for sentence in varying_states(context.frames):
        yield Finding("warn", sentence)


@check("R", "coverage", "every frame has its labels")
def coverage(context: Context) -> Iterator[Finding]:
    """Labels that no frame has, or only some."""
    for label in LABELS:
        wanted = [
            position
            for position, frame in enumerate(context.as_read)
            if label == "energy" or (not is_isolated_atom(frame) and (label != "stress" or np.isfinite(frame.volume)))
        ]
        missing = [position for position in wanted if not context.as_read[position].has(label)]
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


@check("R", "placeholders", "labels were computed")
def placeholders(context: Context) -> Iterator[Finding]:
    """Zeros where no label was computed, forces a constraint set to zero, energies that are all one number."""
    for file in context.files:
        for label, members, sentence, advice in _not_labels(file):
            places = tuple(
                Place(file_name(file), file.frames[position].index, key=file.report.keys.get(label) or "")
                for position in members
            )
            yield Finding("warn", f"{file_name(file)}: {sentence}", len(members), 0, "frames", places, advice)
    energies = [context.frames[position].energy for position in context.bound if context.frames[position].has("energy")]
    if len(energies) > 2 and np.ptp(energies) == 0.0:
        yield Finding(
            "warn",
            f"the energy of all {len(energies)} frames is {energies[0]:g} eV",
            advice="a placeholder? Look at the key it is read from",
        )


def _not_labels(file: FrameFile) -> Iterator[tuple[str, list[int], str, str]]:
    """Label, positions in the file, sentence and advice of each kind of number that the reader did not take."""
    found = file.report.placeholders
    if found is not None:
        sentences = iter(found.sentences(file.frames))
        for label, members, advice in (
            ("forces", found.forces, "nothing is learned there; recompute them, or give them config_forces_weight=0"),
            ("forces", found.atoms, "nothing is learned there; write the forces without the constraint's zeros"),
            ("stress", found.stress, "nothing is learned there; give these frames config_stress_weight=0"),
        ):
            if members:
                yield label, sorted(members), next(sentences), advice
    searched = set() if found is None else set(found.atoms or ())
    held = [
        position
        for position, frame in enumerate(file.frames)
        if frame.held is not None and frame.held.any() and position not in searched
    ]
    if held:
        sentence = describe_held([file.frames[position] for position in held])
        yield "forces", held, sentence, "the other atoms are learned from; ASE's get_forces(apply_constraint=False)"
