"""Group D: structures that are there more than once, in one set or in two, up to symmetry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from equipot.checks.data.registry import Context, check, file_name
from equipot.checks.data.result import Finding, Fix, Place, Skip
from equipot.data.copies import Copy, Prints, elements_of, find_copies, find_copies_across, take_prints
from equipot.data.frames import Frame
from equipot.data.geometry_hash import hash_frames
from equipot.units import MEV_PER_EV

#: Energies of one structure may differ by this (eV/atom), and by what the tolerance of the geometry makes of forces.
SAME_ENERGY = 1e-3
#: Forces per atom (eV/Angstrom) and stresses (eV/Angstrom^3) are taken to be these where a frame has none.
_UNKNOWN_FORCE, _UNKNOWN_PRESSURE = 5.0, 0.1


@check("D", "duplicates", "no structure is there twice")
def duplicates(context: Context) -> Iterator[Finding]:
    """Copies, and structures that a rotation, mirror, order of atoms or choice of cell takes into each other."""
    groups = same_structures(context)
    exact = tuple(position for group in groups for position, copy in group[1:] if copy.is_exact)
    turned = tuple((group[0][0], position) for group in groups for position, copy in group[1:] if not copy.is_exact)
    if exact:
        first = {copy: group[0][0] for group in groups for copy, _ in group[1:]}
        yield Finding(
            "warn",
            f"{len(exact)} frames repeat the structure of an earlier one",
            len(exact),
            0,
            "frames",
            tuple(context.place(copy, text=f"is {_name(context, first[copy])}") for copy in exact),
            "drop them: they count twice, and a random split puts one in training and one in test",
            Fix(
                "drop",
                tuple(copy for copy in exact if _same_labels(context.frames[first[copy]], context.frames[copy])),
                reason="the same structure with the same energy as an earlier frame",
            ),
        )
    if turned:
        yield Finding(
            "note",
            f"{len(turned)} frames are an earlier one turned, mirrored, renumbered or in another cell",
            len(turned),
            None,
            "frames",
            tuple(context.place(copy, text=f"is {_name(context, first)} up to symmetry") for first, copy in turned),
            "say nothing new to a potential; keep such frames on one side of a split",
        )


@check("D", "contradictions", "one structure, one energy")
def contradictions(context: Context) -> Iterator[Finding]:
    """The same structure with different energies.

    Structures are the same within a tolerance, over which forces and stress change the energy. What they can do is
    allowed to every frame: a bound on each pair and no quantile, so that more pairs raise no more false alarms.
    """
    places: list[Place] = []
    largest = 0.0
    for group in same_structures(context):
        having = [(position, copy.misfit) for position, copy in group if context.frames[position].has("energy")]
        if len(having) < 2:
            continue
        positions = [position for position, _ in having]
        energies = np.array([context.frames[p].energy / len(context.frames[p].atoms) for p in positions])
        slack = np.array([energy_slack(context.frames[position], misfit) for position, misfit in having])
        middle = int(np.argsort(energies, kind="stable")[(len(energies) - 1) // 2])
        beyond = np.abs(energies - energies[middle]) - SAME_ENERGY - slack - slack[middle]
        if beyond.max() > 0.0:
            largest = max(largest, float(np.ptp(energies)))
            odd = int(np.where(beyond > 0.0, np.abs(energies - energies[middle]), -1.0).argmax())
            if len(energies) == 2:  # neither is in the middle: the later one is named
                odd, middle = 1, 0
            other = positions[middle]
            places.append(
                context.place(
                    positions[odd],
                    label="energy",
                    text=f"{energies[odd]:.4f} eV/atom, but {_name(context, other)}, the same structure, has "
                    f"{energies[positions.index(other)]:.4f}",
                )
            )
    if places:
        yield Finding(
            "fail",
            f"{len(places)} structures are there with energies that differ by up to "
            f"{largest * MEV_PER_EV:.3g} meV/atom",
            largest * MEV_PER_EV,
            SAME_ENERGY * MEV_PER_EV,
            "meV/atom",
            tuple(places),
            "keep the one whose settings are those of the other frames",
        )


@check("D", "leaks", "no test structure is in the training set")
def leaks(context: Context) -> Iterator[Finding]:
    """Frames of the files of ``--against`` that are, up to symmetry, among the frames."""
    if not context.against:
        raise Skip("give the test set with --against")
    elements = elements_of(context.frames, context.against_frames)
    new = [symbol for symbol in elements if symbol not in context.elements]
    if new:
        yield Finding(
            "fail",
            f"the test set has elements that are not in these files: {', '.join(new)}",
            places=tuple(
                _against_place(context, k)
                for k, frame in enumerate(context.against_frames)
                if set(new) & set(frame.atoms.get_chemical_symbols())
            ),
            advice="a potential knows only the elements it was trained on",
        )
    copies = _copies_across(context, elements, has_new_elements=bool(new))
    if not copies:
        return
    places = tuple(
        _against_place(
            context,
            position,
            f"is {_name(context, copy.of)}"
            + ("" if copy.is_exact else " up to symmetry")
            + _energy_words(context.frames[copy.of], context.against_frames[position]),
        )
        for position, copy in copies.items()
    )
    num_exact = sum(copy.is_exact for copy in copies.values())
    kinds = f"{num_exact} as they are, {len(copies) - num_exact} up to symmetry"
    yield Finding(
        "fail",
        f"{len(copies)} of {len(context.against_frames)} test frames are in the training set ({kinds})",
        len(copies),
        0,
        "frames",
        places,
        "errors on them say nothing about new structures: take them out of "
        "one of the two (--fix OUT --also leaks), or report errors without them",
        Fix("drop_leak", tuple(sorted({copy.of for copy in copies.values()})), reason="is in the test set"),
    )


def _copies_across(context: Context, elements: Sequence[str], *, has_new_elements: bool) -> dict[int, Copy]:
    frames, others, survey = context.frames, context.against_frames, context.survey
    if has_new_elements:  # fingerprints compare for the same elements only
        prints = take_prints(frames, elements, cutoff=context.cutoff, progress=context.progress)
    else:
        prints = Prints(survey.fingerprints, survey.signatures, hash_frames(frames))
    other_prints = take_prints(others, elements, cutoff=context.cutoff, progress=context.progress)
    return find_copies_across(frames, prints, others, other_prints)


def same_structures(context: Context) -> list[list[tuple[int, Copy]]]:
    """Sets of positions that are one structure, the first of each as a copy of itself; worked out once."""
    known = context.curves.get("_same_structures")
    if known is None:
        survey = context.survey
        prints = Prints(survey.fingerprints, survey.signatures, hash_frames(context.frames))
        groups: dict[int, list[tuple[int, Copy]]] = {}
        for position, copy in find_copies(context.frames, prints).items():
            groups.setdefault(copy.of, [(copy.of, Copy(copy.of, True, 0.0))]).append((position, copy))
        known = context.curves["_same_structures"] = [groups[first] for first in sorted(groups)]
    return known


def energy_slack(frame: Frame, misfit: float) -> float:
    """Energy (eV/atom) that atoms and cell vectors displaced by up to the misfit (Angstrom) can make."""
    atoms = frame.atoms
    force = _UNKNOWN_FORCE if frame.forces is None else float(np.mean(np.linalg.norm(frame.forces, axis=1)))
    slack = force * misfit
    if np.isfinite(frame.volume):
        pressure = _UNKNOWN_PRESSURE if frame.stress is None else float(np.linalg.norm(frame.stress))
        height = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max()
        slack += 3.0 * pressure * frame.volume / len(atoms) * misfit / height
    return slack


def _same_labels(first: Frame, second: Frame) -> bool:
    if first.has("energy") and second.has("energy"):
        return abs(first.energy - second.energy) < SAME_ENERGY * len(first.atoms)
    return not second.has("energy")


def _energy_words(first: Frame, second: Frame) -> str:
    if not (first.has("energy") and second.has("energy")):
        return ""
    apart = abs(first.energy / len(first.atoms) - second.energy / len(second.atoms)) * MEV_PER_EV
    return f" (energies {apart:.2g} meV/atom apart)" if apart > 0.01 else " (same energy)"


def _name(context: Context, position: int) -> str:
    place = context.place(position)
    return f"{place.file} frame {place.frame}"


def _against_place(context: Context, number: int, text: str = "") -> Place:
    for file in context.against:
        if number < len(file.frames):
            return Place(file_name(file), file.frames[number].index, text=text)
        number -= len(file.frames)
    raise IndexError(number)
