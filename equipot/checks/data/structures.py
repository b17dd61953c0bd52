"""Group G: atoms too close, cells too small, periodicity that does not fit the atoms, vacuum."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from ase.data import covalent_radii

from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding
from equipot.data.frames import Frame, force_sizes
from equipot.data.isolated import is_isolated_atom
from equipot.errors import StructureError
from equipot.graph import neighbor_list

#: Atoms closer than this fraction of their covalent radii's sum are listed ...
OVERLAP = 0.6
#: ... unless their forces show that they were computed so (eV/Angstrom).
_REPULSIVE_FORCE = 10.0
#: Atoms closer than this (Angstrom) are one atom twice.
COINCIDENT = 0.05
#: A gap without atoms wider than this (Angstrom) is vacuum.
VACUUM = 5.0


@check("G", "overlaps", "no two atoms overlap")
def overlaps(context: Context) -> Iterator[Finding]:
    """Atoms on top of each other, and atoms closer than chemistry allows."""
    survey = context.survey
    if survey.too_dense:
        yield Finding(
            "fail",
            f"{len(survey.too_dense)} frames have too many neighbours to count",
            places=tuple(context.place(position, text=why) for position, why in survey.too_dense.items()),
            advice="atoms on top of each other, or a cell in the wrong unit",
        )
    coincident, close = [], []
    for position, contact in enumerate(survey.contacts):
        if contact is None or contact.ratio >= OVERLAP:
            continue
        symbols = context.frames[position].atoms.get_chemical_symbols()
        one, two = contact.atoms
        place = context.place(
            position,
            atom=min(one, two),
            text=(
                f"{contact.distance:.3f} A from "
                + ("its own image" if one == two else f"atom {max(one, two)}")
                + f" ({symbols[one]}-{symbols[two]}, {contact.ratio:.2f} of their covalent radii)"
            ),
        )
        (coincident if contact.distance < COINCIDENT else close).append((position, contact, place))
    if coincident:
        yield Finding(
            "fail",
            f"{len(coincident)} frames have atoms less than {COINCIDENT:g} A apart",
            min(contact.distance for _, contact, _ in coincident),
            COINCIDENT,
            "A",
            tuple(place for _, _, place in coincident),
            "an atom is there twice: remove it or the frame",
        )
    for status, members in _by_evidence(context, close).items():
        if members:
            known = " and their forces, energies or volumes agree with it" if status == "note" else ""
            yield Finding(
                status,
                f"{len(members)} frames have atoms closer than {OVERLAP:g} of the sum of their covalent radii{known}",
                min(contact.ratio for _, contact, _ in members),
                OVERLAP,
                "",
                tuple(place for _, _, place in members),
                "" if status == "note" else "look at them: a wrong cell, a wrong element or a failed run",
            )


def _by_evidence(context: Context, close: list) -> dict[str, list]:
    """Overlaps that were computed on purpose (compressed cells, hard collisions) are no fault."""
    found: dict[str, list] = {"warn": [], "note": []}
    for item in close:
        position, contact, _ = item
        frame = context.frames[position]
        one, two = contact.atoms
        largest = 0.0 if frame.forces is None else float(force_sizes(frame.forces[[one, two]]).max(initial=0.0))
        # By symmetry the forces of a compressed crystal vanish; its stress does not.
        pressed = frame.stress is not None and -np.trace(frame.stress) / 3.0 > 0.3
        is_hydrogen = {frame.atoms.numbers[one], frame.atoms.numbers[two]} == {1}
        found["note" if largest > _REPULSIVE_FORCE or pressed or is_hydrogen else "warn"].append(item)
    return found


@check("G", "cells", "cells are sound")
def cells(context: Context) -> Iterator[Finding]:
    """Cells so flat or skewed that they cost accuracy, and how many neighbours are images of the atom itself."""
    skewed, small = [], []
    for position in context.bound:
        frame = context.frames[position]
        if not np.isfinite(frame.volume):
            continue
        lengths = np.linalg.norm(frame.atoms.cell.array, axis=1)
        heights = 1.0 / np.linalg.norm(np.linalg.inv(frame.atoms.cell.array), axis=0)
        if (heights < 0.1 * lengths).any():
            skewed.append(position)
        if heights.min() < context.cutoff:
            small.append(position)
    if skewed:
        yield Finding(
            "note",
            f"{len(skewed)} cells are so skewed that a lattice vector is ten times its height",
            len(skewed),
            None,
            "frames",
            context.places(skewed),
            "the same crystal has a compact (Niggli) cell",
        )
    share = context.survey.image_share
    alone = [position for position in context.bound if share[position] > 0.5]
    if small:
        text = (
            f"{len(small)} of {len(context.bound)} frames have a cell thinner than the cutoff of "
            f"{context.cutoff:g} A, which is allowed"
        )
        if alone:
            text += (
                f"; in {len(alone)} most neighbours are images of the atom itself: such frames say nothing of "
                f"single displaced atoms"
            )
        yield Finding("note", text, len(small), None, "frames", context.places(alone or small))


@check("G", "periodicity", "pbc fits the atoms")
def periodicity(context: Context) -> Iterator[Finding]:
    """Crystals declared without periodicity, and frames of one composition with different pbc."""
    broken, empty_box = [], []
    for position in context.bound:
        frame = context.frames[position]
        pbc = np.asarray(frame.atoms.pbc)
        if not pbc.all() and abs(np.linalg.det(frame.atoms.cell.array)) > 1.0 and _fills_its_cell(frame):
            broken.append(position)
        if pbc.all() and len(frame.atoms) > 1 and min(_gaps(frame)) > VACUUM:
            empty_box.append(position)
    if broken:
        yield Finding(
            "warn",
            f"{len(broken)} frames have pbc off although their atoms fill the cell and meet across its faces",
            len(broken),
            0,
            "frames",
            tuple(
                context.place(
                    position, text="pbc=" + "".join("FT"[int(on)] for on in context.frames[position].atoms.pbc)
                )
                for position in broken
            ),
            'set pbc="T T T": without it a crystal is read as a cluster',
        )
    kinds: dict[str, Counter] = defaultdict(Counter)
    for position in context.bound:
        frame = context.frames[position]
        kinds[f"{context.formulas[position]} in {frame.config_type}"][tuple(bool(on) for on in frame.atoms.pbc)] += 1
    mixed = {name: counts for name, counts in kinds.items() if len(counts) > 1}
    for name, counts in mixed.items():
        rare = min(counts, key=counts.get)
        places = [
            position
            for position in context.bound
            if tuple(bool(on) for on in context.frames[position].atoms.pbc) == rare
            and f"{context.formulas[position]} in {context.frames[position].config_type}" == name
        ]
        texts = ", ".join("".join("FT"[on] for on in pbc) + f" {number}" for pbc, number in counts.most_common())
        yield Finding(
            "warn",
            f"{name} is there with different pbc ({texts})",
            len(places),
            0,
            "frames",
            context.places(places),
            "one of them is a mistake, unless clusters and crystals are meant",
        )
    if empty_box:
        yield Finding(
            "note",
            f"{len(empty_box)} frames are molecules or clusters in a periodic box with at least "
            f"{VACUUM:g} A around them",
            len(empty_box),
            None,
            "frames",
            context.places(empty_box),
            "their stress depends on the size of the box",
        )


@check("G", "vacuum", "vacuum, and stress across it")
def vacuum(context: Context) -> Iterator[Finding]:
    """Slabs and wires: where vacuum lies, and whether their periodic images interact."""
    slabs: dict[str, list[tuple[int, float]]] = defaultdict(list)
    narrow = []
    for position in context.bound:
        frame = context.frames[position]
        if not np.isfinite(frame.volume):
            continue
        gaps = np.array(_gaps(frame))
        if (gaps > VACUUM).any() and not (gaps > VACUUM).all():
            slabs["".join(name for name, gap in zip("abc", gaps) if gap > VACUUM)].append((position, gaps.max()))
            if gaps.max() < context.cutoff:
                narrow.append(position)
    for axes, members in slabs.items():
        widest = [gap for _, gap in members]
        stressed = sum(context.frames[position].stress is not None for position, _ in members)
        yield Finding(
            "note",
            f"{len(members)} frames have vacuum along {' and '.join(axes)} ({min(widest):.1f} to "
            f"{max(widest):.1f} A)"
            + (f"; {stressed} have a stress, which is that of slab and vacuum together" if stressed else ""),
            len(members),
            None,
            "frames",
            context.places(position for position, _ in members),
        )


def _gaps(frame: Frame) -> list[float]:
    """The widest gap without atoms along each lattice vector (Angstrom, perpendicular to the other two)."""
    inverse = np.linalg.inv(frame.atoms.cell.array)
    values = np.sort(frame.atoms.positions @ inverse % 1.0, axis=0)
    widest = np.maximum(np.diff(values, axis=0).max(axis=0, initial=0.0), values[0] + 1.0 - values[-1])
    return (widest / np.linalg.norm(inverse, axis=0)).tolist()


def _fills_its_cell(frame: Frame) -> bool:
    """Whether, were it periodic, atoms would be bonded across every face, without overlapping."""
    atoms, pbc = frame.atoms, np.asarray(frame.atoms.pbc)
    if is_isolated_atom(frame):
        return False
    reach = 1.3 * 2.0 * float(covalent_radii[atoms.numbers].max())
    try:
        found = neighbor_list(atoms.positions, atoms.cell.array, np.ones(3, bool), reach, max_edges=2_000_000)
    except StructureError:
        return False
    crossing = (found.shift != 0)[:, ~pbc]
    if found.distance[crossing.any(axis=1)].min(initial=np.inf) < 0.35 * reach:
        return False  # it would overlap with its images: the cell is not its own
    bonded = found.distance < 1.3 * (
        covalent_radii[atoms.numbers[found.center]] + covalent_radii[atoms.numbers[found.neighbor]]
    )
    return bool(crossing[bonded].any(axis=0).all())
