"""Group F: forces against energies, forces that do not sum to zero, forces that stand out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from equipot.checks.data.energy_kind import OTHER, PER_ATOM
from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding, Fix, Skip
from equipot.checks.data.step_fits import FORCE_CANDIDATES, Fit
from equipot.data.frames import force_sizes
from equipot.units import MEV_PER_EV

#: Net force an atom (eV/Angstrom): below what drift-corrected DFT leaves, above rounding of any file.
NET_FORCE = 5e-4
#: Forces above this (eV/Angstrom) are listed.
LARGE_FORCE = 100.0
#: Parts of one group whose forces are so many times apart are listed.
_APART = 30.0


@check("F", "forces-unit", "unit and sign of the forces, from energies")
def unit_and_sign(context: Context) -> Iterator[Finding]:
    """Work of the forces against energies over steps between near frames in one cell."""
    if not any(frame.forces is not None and frame.forces.any() for frame in context.frames):
        raise Skip("no frame has forces that are not zero")
    if context.energy_kind.kind in (OTHER, PER_ATOM):
        raise Skip("the energies that were read are not those the forces belong to (energy-key, energy-per-atom)")
    fits = context.force_fits
    right = {name: fit for name, fit in fits.items() if fit.is_right}
    wrong = {name: fit for name, fit in fits.items() if fit.is_wrong}
    if not right and not wrong:
        raise Skip("no group has enough near frames of the same atoms in one cell")
    by_kind: dict[tuple[str, int], dict] = {}
    for name, fit in wrong.items():
        by_kind.setdefault((fit.unit, fit.sign), {})[name] = fit
    for (unit, sign), members in by_kind.items():
        yield _wrong(context, unit, sign, members, is_whole=not right and len(by_kind) == 1)
    if right:
        steps = sum(fit.num_steps for fit in right.values())
        names = ", ".join(f"{group or '(none)'} {formula}" for group, formula in list(right)[:6])
        rough = all(fit.is_rough for fit in right.values())
        slope = np.average([fit.slope for fit in right.values()], weights=[fit.num_steps for fit in right.values()])
        yield Finding(
            "note",
            f"proven eV/A, minus the gradient, in {len(right)} groups ({names}"
            f"{', ...' if len(right) > 6 else ''}): {steps} steps, dE / work {slope:.2f}"
            + (" (frames far apart: sign and rough size only)" if rough else ""),
        )


def _wrong(context: Context, unit: str, sign: int, members: dict[tuple[str, str], Fit], *, is_whole: bool) -> Finding:
    if is_whole:
        files = {id(context.file_of[position]) for fit in members.values() for position in fit.positions}
        positions = [
            k for k, frame in enumerate(context.frames) if frame.forces is not None and id(context.file_of[k]) in files
        ]
    else:
        positions = [
            k
            for k, frame in enumerate(context.frames)
            if frame.forces is not None and (frame.config_type, frame.atoms.get_chemical_formula()) in members
        ]
    what = [
        *(["of the opposite sign (the gradient, not its negative)"] if sign < 0 else []),
        *([f"not in the unit of the energies: it looks like {unit}"] if unit != "eV/A" else []),
    ]
    rough = any(fit.is_rough for fit in members.values())
    steps = sum(fit.num_steps for fit in members.values())
    fixable = not rough or unit == "eV/A"
    return Finding(
        "fail",
        f"the forces are {' and '.join(what)}: {steps} steps between near frames of "
        f"{', '.join(f'{group} {formula}' for group, formula in members)}",
        places=context.places(positions, label="forces"),
        advice=(
            f"read them with --units forces={unit} (in a configuration data.units.forces={unit}), or the energies "
            f"in theirs"
            if unit != "eV/A"
            else "correct the file (--fix OUT does)"
        ),
        fix=Fix(
            "forces_factor",
            tuple(positions),
            sign * FORCE_CANDIDATES[unit],
            f"forces were {' and '.join(what)}, proven by {steps} steps",
        )
        if fixable
        else None,
    )


@check("F", "net-force", "the forces of a frame sum to zero")
def net_force(context: Context) -> Iterator[Finding]:
    """What no potential can fit: the mean force of a frame."""
    having = [
        position
        for position, frame in enumerate(context.frames)
        if frame.forces is not None
        and len(frame.atoms)
        and not _has_field(frame)
        and np.isfinite(frame.forces).all()  # where atoms were held the others have no reason to sum to zero
    ]
    if not having:
        raise Skip("no frame has the forces of all its atoms")
    total = np.array([np.linalg.norm(context.frames[position].forces.sum(axis=0)) for position in having])
    sizes = np.array([len(context.frames[position].atoms) for position in having])
    drift = total / sizes
    drifting = np.flatnonzero(drift > NET_FORCE)
    if not len(drifting):
        return
    order = drifting[np.argsort(-drift[drifting])]
    squares = sum(float(np.sum(context.frames[position].forces ** 2)) for position in having)
    lost = np.sqrt(np.sum(total**2 / sizes) / squares) if squares else 0.0
    yield Finding(
        "warn",
        f"the forces of {len(drifting)} of {len(having)} frames do not sum to zero: up to {total.max():.2g} "
        f"eV/A a frame "
        f"(median {np.median(total):.2g}), {MEV_PER_EV * drift.max():.3g} meV/A an atom (median "
        f"{MEV_PER_EV * np.median(drift):.2g}); {100 * lost:.2g} % of the forces' rms is drift",
        MEV_PER_EV * drift.max(),
        MEV_PER_EV * NET_FORCE,
        "meV/A",
        tuple(
            context.place(having[k], label="forces", text=f"sum {total[k]:.3g} eV/A over {sizes[k]} atoms")
            for k in order
        ),
        "force errors below the drift mean nothing; --fix OUT --also net-force takes the mean force off each frame",
        Fix("net_force", tuple(having[k] for k in drifting), None, "mean force taken off"),
    )


def _has_field(frame) -> bool:
    return any(key.lower() in ("electric_field", "efield", "external_field") for key in frame.info)


@check("F", "force-outliers", "no force stands out")
def outliers(context: Context) -> Iterator[Finding]:
    """Forces beyond all reason, and frames whose forces are on another scale than those of their group."""
    rows = []
    for position, frame in enumerate(context.frames):
        if frame.forces is not None and len(frame.forces):
            sizes = np.nan_to_num(np.linalg.norm(frame.forces, axis=1))  # an atom that was held does not stand out
            known = frame.forces[np.isfinite(frame.forces).all(axis=1)]
            rows.append((position, int(sizes.argmax()), float(sizes.max()), _rms(known)))
    if not rows:
        raise Skip("no frame has forces")
    context.curves["forces"] = {
        name: np.concatenate(
            [force_sizes(context.frames[k].forces) for k in members if context.frames[k].forces is not None] or [[]]
        )
        for name, members in context.by_group([row[0] for row in rows]).items()
    }
    large = sorted((row for row in rows if row[2] > LARGE_FORCE), key=lambda row: -row[2])
    if large:
        yield Finding(
            "warn",
            f"{len(large)} frames have a force above {LARGE_FORCE:g} eV/A",
            large[0][2],
            LARGE_FORCE,
            "eV/A",
            tuple(
                context.place(position, atom=atom, label="forces", text=f"{size:.4g} eV/A")
                for position, atom, size, _ in large
            ),
            "atoms on top of each other, or a run that did not converge",
        )
    rms_of = {position: rms for position, _, _, rms in rows}
    typical = {
        name: float(np.median([rms_of[position] for position in members]))
        for name, members in context.by_group(rms_of).items()
        if len(members) >= 5
    }
    strange = []
    for position, atom, size, rms in rows:
        usual = typical.get(context.frames[position].config_type, 0.0)
        if usual > 1e-3 and rms > _APART * usual and size <= LARGE_FORCE:
            strange.append(
                (
                    rms / usual,
                    context.place(
                        position,
                        atom=atom,
                        label="forces",
                        text=(f"{size:.3g} eV/A, the frame's rms is {rms / usual:.3g} times that of its group"),
                    ),
                )
            )
    if strange:
        strange.sort(key=lambda item: -item[0])
        yield Finding(
            "note",
            f"{len(strange)} frames have forces more than {_APART:g} times those of their config_type",
            strange[0][0],
            _APART,
            "",
            tuple(place for _, place in strange),
        )


def _rms(values: np.ndarray) -> float:
    largest = float(np.abs(values).max()) if len(values) else 0.0
    # Scaled, so that an absurd value in the file is reported and does not overflow.
    return float(largest * np.sqrt(np.mean((values / largest) ** 2))) if largest else 0.0
