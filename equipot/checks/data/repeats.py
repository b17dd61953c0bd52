"""Group D: structures that are there more than once, in one set or in two, up to symmetry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.spatial import cKDTree

from equipot.checks.data.equivalence import find_isometry
from equipot.checks.data.registry import Context, check, file_name, reduced_formula
from equipot.checks.data.result import Finding, Fix, Place, Skip
from equipot.checks.data.survey import survey_frames
from equipot.data.frames import Frame
from equipot.data.geometry_hash import find_duplicates, geometry_hash
from equipot.data.isolated import is_isolated_atom
from equipot.elements import sorted_symbols
from equipot.units import MEV_PER_EV

#: Largest difference of one component of two fingerprints that may be the same structure.
_NEAR = 4e-3
#: Energies of one structure may differ by this (eV/atom).
SAME_ENERGY = 1e-3
#: Candidates looked at for one frame.
_MOST_CANDIDATES = 40


@check("D", "duplicates", "no structure is there twice")
def duplicates(context: Context) -> Iterator[Finding]:
    """Copies, and structures that a rotation, mirror, order of atoms or choice of cell takes into each other."""
    groups = same_structures(context)
    exact = tuple(copy for group in groups for copy, is_exact in group[1:] if is_exact)
    turned = tuple((group[0][0], copy) for group in groups for copy, is_exact in group[1:] if not is_exact)
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
    """The same structure with different energies."""
    places: list[Place] = []
    largest = 0.0
    for group in same_structures(context):
        positions = [position for position, _ in group if context.frames[position].has("energy")]
        energies = np.array([context.frames[p].energy / len(context.frames[p].atoms) for p in positions])
        if len(energies) > 1 and np.ptp(energies) > SAME_ENERGY:
            largest = max(largest, float(np.ptp(energies)))
            middle = float(np.median(energies))
            odd = int(np.abs(energies - middle).argmax())
            other = positions[0] if odd else positions[1]
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
    elements = sorted_symbols(
        {
            *context.elements,
            *(symbol for frame in context.against_frames for symbol in frame.atoms.get_chemical_symbols()),
        }
    )
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
    both = [*context.frames, *context.against_frames]
    count = len(context.frames)
    one = context.survey if not new else survey_frames(context.frames, context.cutoff, elements, context.progress)
    two = survey_frames(context.against_frames, context.cutoff, elements, context.progress)
    prints, marks = np.concatenate([one.fingerprints, two.fingerprints]), one.signatures + two.signatures
    pairs: dict[int, tuple[int, bool]] = {}
    for one, two, exact in _matches(both, prints, marks, across=count):
        if two not in pairs or (exact and not pairs[two][1]):
            pairs[two] = (one, exact)
    if not pairs:
        return
    places = tuple(
        _against_place(
            context,
            two - count,
            f"is {_name(context, one)}" + ("" if exact else " up to symmetry") + _energy_words(both[one], both[two]),
        )
        for two, (one, exact) in sorted(pairs.items())
    )
    num_exact = sum(exact for _, exact in pairs.values())
    kinds = f"{num_exact} as they are, {len(pairs) - num_exact} up to symmetry"
    yield Finding(
        "fail",
        f"{len(pairs)} of {len(context.against_frames)} test frames are in the training set ({kinds})",
        len(pairs),
        0,
        "frames",
        places,
        "errors on them say nothing about new structures: take them out of "
        "one of the two (--fix OUT --also leaks), or report errors without them",
        Fix("drop_leak", tuple(sorted({one for one, _ in pairs.values()})), reason="is in the test set"),
    )


def same_structures(context: Context) -> list[list[tuple[int, bool]]]:
    """Sets of positions that are one structure, each with whether it is so without turning; worked out once."""
    known = context.curves.get("_same_structures")
    if known is None:
        links: dict[int, tuple[int, bool]] = {}
        for one, two, exact in _matches(context.frames, context.survey.fingerprints, context.survey.signatures):
            if two not in links or (exact and not links[two][1]):
                links[two] = (one, exact)
        groups: dict[int, list[tuple[int, bool]]] = {}
        for two in sorted(links):
            one, exact = links[two]
            root = one
            while root in links:
                root = links[root][0]
            groups.setdefault(root, [(root, True)]).append((two, exact))
        known = context.curves["_same_structures"] = [groups[root] for root in sorted(groups)]
    return known


def _matches(
    frames: Sequence[Frame],
    fingerprints: np.ndarray,
    signatures: Sequence[np.ndarray | None],
    *,
    across: int | None = None,
) -> Iterator[tuple[int, int, bool]]:
    """Pairs (earlier, later, is the same without turning); ``across``: only from before to after this position."""
    usable = [k for k, frame in enumerate(frames) if len(frame.atoms) and not is_isolated_atom(frame)]
    hashes = {k: geometry_hash(frames[k].atoms) for k in usable}
    places = list(hashes)
    for group in find_duplicates(list(hashes.values())):
        members = [places[k] for k in group]
        firsts = [k for k in members if across is None or k < across]
        for later in members:
            if firsts and later != firsts[0] and (across is None or later >= across):
                yield firsts[0], later, True
    by_formula: dict[tuple, list[int]] = defaultdict(list)
    for k in usable:
        if fingerprints[k].any():
            by_formula[reduced_formula(frames[k]), int(np.sum(frames[k].atoms.pbc))].append(k)
    for members in by_formula.values():
        yield from _turned(frames, fingerprints, signatures, members, hashes, across)


def _turned(
    frames: Sequence[Frame],
    fingerprints: np.ndarray,
    signatures: Sequence[np.ndarray | None],
    members: list[int],
    hashes: dict[int, str],
    across: int | None,
) -> Iterator[tuple[int, int, bool]]:
    points = fingerprints[members]
    tree = cKDTree(points)
    done: set[int] = set()
    for place, later in enumerate(members):
        if across is not None and later < across:
            continue
        near = tree.query_ball_point(points[place], _NEAR, p=np.inf)
        earlier = [
            members[k] for k in near if members[k] < (later if across is None else across) and members[k] not in done
        ]
        earlier.sort(key=lambda k, later=later: float(np.abs(fingerprints[k] - fingerprints[later]).max()))
        for k in earlier[:_MOST_CANDIDATES]:
            if hashes[k] == hashes[later]:
                break
            if find_isometry(frames[k].atoms, frames[later].atoms, (signatures[k], signatures[later])) is not None:
                yield k, later, False
                if across is None:
                    done.add(later)  # further copies are found through the first
                break


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
