"""Group E: atomic energies, total or interaction energies, frames whose energy cannot be theirs, mixed calculations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from equipot.checks.data.near_energies import Neighborhood, neighborhoods
from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding, Skip
from equipot.checks.data.step_offsets import step_offsets
from equipot.data.isolated import is_isolated_atom
from equipot.units import MEV_PER_EV

#: Binding energies (eV/atom) of real matter lie between these.
_DEEPEST, _HIGHEST = -15.0, 2.0
#: Energies this far off the composition fit (eV/atom) are listed.
LARGE_ENERGY = 10.0
#: Pressure (eV/Angstrom^3) and contact (of covalent radii) that explain a high energy.
_PRESSED, _SQUEEZED = 0.3, 0.8
#: Factors a careless script puts on an energy.
_FACTORS = (2.0, 0.5, 3.0, 1.0 / 3.0, 4.0, 0.25, -1.0)
_WORDS = {
    2.0: "half of it",
    0.5: "twice it",
    3.0: "a third of it",
    1.0 / 3.0: "three times it",
    4.0: "a quarter of it",
    0.25: "four times it",
    -1.0: "its negative",
}
#: Energies of one composition split by a gap (eV/atom), so many times wider than the parts.
_GAP, _TIMES = 0.02, 3.0


@check("E", "atomic-energies", "compositions determine the atomic energies")
def atomic_energies(context: Context) -> Iterator[Finding]:
    """Rank and condition of the E0 fit, isolated atoms that disagree."""
    energies = context.atomic_energies
    for warning in energies.warnings:
        if "energies less atomic energies reach" not in warning:  # has a check of its own
            yield Finding(
                "warn",
                warning,
                None if energies.rank is None else float(energies.rank),
                float(energies.num_elements),
                "",
            )
    isolated = [position for position, frame in enumerate(context.frames) if is_isolated_atom(frame)]
    if isolated:
        symbols = sorted({context.frames[position].atoms.get_chemical_symbols()[0] for position in isolated})
        yield Finding("note", f"isolated-atom frames for {', '.join(symbols)}", places=context.places(isolated))
    else:
        yield Finding("note", "no isolated-atom frames: atomic energies come from a least-squares fit")


@check("E", "energy-reference", "energies and atomic energies are of one kind")
def reference(context: Context) -> Iterator[Finding]:
    """Total energies with atomic energies of interaction, or the other way round."""
    energies = context.atomic_energies
    having = [position for position in context.bound if context.frames[position].has("energy")]
    if not having:
        raise Skip("only isolated atoms have energies")
    frames = [context.frames[position] for position in having]
    raw = np.array([frame.energy / len(frame.atoms) for frame in frames])
    left = np.array([(frame.energy - energies.of(frame.atoms)) / len(frame.atoms) for frame in frames])
    middle = float(np.median(left))
    kind = (
        "total energies (all electrons, or with their cores' pseudo-atoms)"
        if np.median(np.abs(raw)) > 50.0
        else "of the size of cohesive energies (as VASP prints them)"
    )
    if energies.origin == "isolated" and not _DEEPEST < middle < _HIGHEST:
        yield Finding(
            "fail",
            f"energies less those of the isolated atoms are {middle:.4g} eV/atom (median), where "
            f"binding "
            f"is {_DEEPEST:g} to {_HIGHEST:g}",
            middle,
            _DEEPEST if middle < 0 else _HIGHEST,
            "eV/atom",
            context.places(having[:6], label="energy"),
            "total energies need the atoms' total energies of the same calculation; where the energies are "
            "binding energies already, leave the isolated atoms out",
        )
        return
    mixed = np.flatnonzero(np.abs(left - middle) > LARGE_ENERGY)
    explained = [k for k in mixed if _is_squeezed(context, having[k])]
    strange = [k for k in mixed if k not in set(explained)]
    if strange:
        worst = max(strange, key=lambda k: abs(left[k] - middle))
        yield Finding(
            "warn",
            f"{len(strange)} frames have an energy more than {LARGE_ENERGY:g} eV/atom from the "
            f"others of "
            f"their composition",
            abs(left[worst] - middle),
            LARGE_ENERGY,
            "eV/atom",
            tuple(
                context.place(
                    having[k], label="energy", text=f"{raw[k]:.5g} eV/atom, {left[k] - middle:+.3g} from the fit"
                )
                for k in strange
            ),
            "total among interaction energies, a wrong number of atoms, or a failed run",
        )
    if explained:
        yield Finding(
            "note",
            f"{len(explained)} strongly compressed frames lie more than {LARGE_ENERGY:g} eV/atom "
            f"above the "
            f"others (up to {left[explained].max() - middle:.3g}); their stress or distances agree",
            places=tuple(context.place(having[k], label="energy", text=f"{raw[k]:.4g} eV/atom") for k in explained),
            advice="they dominate a squared loss: weigh them down, or use a Huber loss",
        )
    source = {"isolated": "the isolated atoms", "least_squares": "a fit to composition", "given": "given"}
    yield Finding(
        "note",
        f"energies are {kind}; less atomic energies ({source[energies.origin]}) they are "
        f"{left.min():.4g} to "
        f"{left.max():.4g} eV/atom",
    )


def _is_squeezed(context: Context, position: int) -> bool:
    frame, contact = context.frames[position], context.survey.contacts[position]
    pressed = frame.stress is not None and -np.trace(frame.stress) / 3.0 > _PRESSED
    return pressed or (contact is not None and contact.ratio < _SQUEEZED)


@check("E", "energy-outliers", "no frame's energy stands out among its like")
def outliers(context: Context) -> Iterator[Finding]:
    """Energies an atom against frames of the same composition with the nearest structure, and over steps."""
    if not any(context.frames[position].has("energy") for position in context.bound):
        raise Skip("no frame has an energy")
    halved, odd = [], []
    offsets = step_offsets(context)
    for position, near in _neighborhoods(context).items():
        step = offsets.single.get(position)
        if not near.is_odd and step is None:
            continue
        energy = near.energy
        expected = near.expected if step is None else energy - step
        factor = _factor(energy, expected, max(near.spread, 1e-3 * abs(expected)))
        text = f"{energy:.5g} eV/atom, where " + (
            f"{near.count} similar frames have {expected:.5g}"
            if step is None
            else f"forces and stress say {expected:.5g}"
        )
        if factor is not None:
            halved.append((position, f"{text}: {_WORDS[factor]}"))
        elif step is not None or near.is_very_odd:
            odd.append((position, text, abs(energy - expected)))
    if halved:
        yield Finding(
            "fail",
            f"{len(halved)} frames have an energy that is a simple multiple of the right one",
            len(halved),
            0,
            "frames",
            tuple(context.place(position, label="energy", text=text) for position, text in halved),
            "the energy of another number of atoms or of a formula unit: correct it, or drop the frame",
        )
    if odd:
        odd.sort(key=lambda item: -item[2])
        yield Finding(
            "warn",
            f"{len(odd)} frames have an energy that does not fit their structure (by up to "
            f"{MEV_PER_EV * odd[0][2]:.3g} meV/atom)",
            MEV_PER_EV * odd[0][2],
            None,
            "meV/atom",
            tuple(context.place(position, label="energy", text=text) for position, text, _ in odd),
            "a run that did not converge, another state of charge or spin, or labels of another frame",
        )


def _neighborhoods(context: Context) -> dict[int, Neighborhood]:
    known = context.curves.get("_neighborhoods")
    if known is None:
        having = [position for position in context.bound if context.frames[position].has("energy")]
        energies = {
            position: context.frames[position].energy / len(context.frames[position].atoms) for position in having
        }
        known = context.curves["_neighborhoods"] = neighborhoods(
            energies, context.formulas, context.survey.fingerprints
        )
    return known


def _factor(energy: float, expected: float, spread: float) -> float | None:
    """The factor that brings an energy to what it should be, where a simple one does and nothing near 1 could."""
    gap = abs(energy - expected)
    # Far beyond what structure can do: a fifth of the energy itself.
    if gap < 0.2 * abs(expected) or gap < 10.0 * spread or abs(expected) < 0.1:
        return None
    # Where like frames differ by a good part of their energy (one measured from the crystal's), multiples are chance.
    if spread > 0.1 * abs(expected):
        return None
    best = min(_FACTORS, key=lambda factor: abs(factor * energy - expected))
    return best if abs(best * energy - expected) < 0.05 * gap + 2.0 * spread else None


@check("E", "theory", "one level of theory")
def theory(context: Context) -> Iterator[Finding]:
    """Sets of frames whose energies are apart by a constant although their structures are alike."""
    if not any(context.frames[position].has("energy") for position in context.bound):
        raise Skip("no frame has an energy")
    found = False
    for offset in step_offsets(context).sets:
        found = True
        name = context.frames[offset.positions[0]]
        yield Finding(
            "fail",
            f"{len(offset.positions)} frames like {name.config_type or '(none)'} "
            f"{name.atoms.get_chemical_formula()} lie {MEV_PER_EV * offset.energy:+.4g} ± "
            f"{MEV_PER_EV * offset.error:.2g} meV/atom from the others, by {offset.num_steps} steps "
            f"between near "
            f"frames",
            MEV_PER_EV * abs(offset.energy),
            None,
            "meV/atom",
            context.places(offset.positions, label="energy"),
            "two sets of settings (functional, cutoff, k-points, pseudopotentials): keep one",
        )
    if found:
        return
    having: dict[str, list[int]] = defaultdict(list)
    for position in context.bound:
        if context.frames[position].has("energy"):
            having[context.formulas[position]].append(position)
    for formula, members in having.items():
        split = _split(context, members)
        if split is not None:
            small, gap, distance = split
            yield Finding(
                "warn",
                f"{formula}: the energies of {len(small)} of {len(members)} frames lie "
                f"{MEV_PER_EV * distance:+.4g} "
                f"meV/atom from the others, with nothing in between ({MEV_PER_EV * gap:.3g} meV/atom), "
                f"although "
                f"their structures are alike",
                MEV_PER_EV * gap,
                MEV_PER_EV * _GAP,
                "meV/atom",
                context.places(small, label="energy"),
                "two levels of theory, or total among interaction energies: keep one",
            )


def _split(context: Context, members: list[int]) -> tuple[list[int], float, float] | None:
    """The smaller part, the gap and the distance of the medians, where energies fall apart and structures do not."""
    if len(members) < 10:
        return None
    energies = np.array([context.frames[position].energy / len(context.frames[position].atoms) for position in members])
    order = np.argsort(energies)
    values = energies[order]
    gaps = np.diff(values)
    gaps[:2] = gaps[-2:] = 0.0  # three frames at least on either side
    cut = int(gaps.argmax())
    low, high = values[: cut + 1], values[cut + 1 :]
    width = max(np.subtract(*np.percentile(part, (90, 10))) for part in (low, high))
    if gaps[cut] < max(_GAP, _TIMES * width):
        return None
    small, large = sorted((order[: cut + 1], order[cut + 1 :]), key=len)
    points = context.survey.fingerprints[members]
    within = cKDTree(points[small]).query(points[small], k=2)[0][:, 1]
    to_others = cKDTree(points[large]).query(points[small])[0]
    if np.median(to_others) > 2.0 * np.median(within) + 1e-9:
        return None  # another structure, which may well have another energy
    distance = float(np.median(energies[small]) - np.median(energies[large]))
    return [members[k] for k in small], float(gaps[cut]), distance
