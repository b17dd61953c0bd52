"""Group S: unit and sign of the stress, a constant Pulay stress, the order of the shear components."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from equipot.checks.data.energy_kind import OTHER, PER_ATOM
from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding, Fix, Skip
from equipot.checks.data.step_fits import (
    GOOD_LOSS,
    IDENTITY,
    SHEAR_NAMES,
    STRESS_CANDIDATES,
    VIRIAL,
    Fit,
    reorder_shear,
)
from equipot.checks.data.step_offsets import step_offsets
from equipot.data.stress_sign import prove_sign

#: A constant stress from here on (GPa), and so many times its error, is named ...
PULAY_GPA, _SIGNIFICANT = 0.3, 4.0
#: ... where it makes the loss so many times smaller, from one that shows.
_EXPLAINS, _SHOWS = 3.0, 0.4
#: Stress and energies of a group that agree in no unit to better than this loss are noisy.
_NOISY = 2.0
#: Scatter of energies about the stress's work that is worth a word (eV/atom).
_NOISE = 1e-4
#: Slope of energy over stress work further than this from 1 is named.
_SLOPE = 0.25


def _fits(context: Context) -> dict[tuple[str, str], Fit]:
    if not any(frame.stress is not None for frame in context.frames):
        raise Skip("no frame has a stress")
    if context.energy_kind.kind in (OTHER, PER_ATOM):
        raise Skip("the energies that were read are not those the stress belongs to (energy-key, energy-per-atom)")
    if not context.stress_fits:
        raise Skip("no group has enough near frames of the same atoms in different cells")
    return context.stress_fits


@check("S", "stress-unit", "unit and sign of the stress, from energies")
def unit_and_sign(context: Context) -> Iterator[Finding]:
    """The stress of each group against -dE over steps between its frames."""
    fits = _fits(context)
    right = {name: fit for name, fit in fits.items() if fit.is_right}
    wrong = {name: fit for name, fit in fits.items() if fit.is_wrong}
    for (unit, sign), members in _by_unit(wrong).items():
        yield _wrong_unit(context, unit, sign, members, everything_wrong=not right)
    for name, fit in fits.items():
        if fit.is_proven and abs(fit.slope - 1.0) > _SLOPE + 3.0 * fit.slope_error and fit.is_right:
            yield Finding(
                "warn",
                f"{_title(name)}: energies change by {fit.slope:.2f} ± {fit.slope_error:.2f} of what the stress says",
                fit.slope,
                1.0 + _SLOPE,
                "",
                context.places(fit.positions[:5], label="stress"),
                "stress and energy are not of one calculation, or not converged",
            )
        elif (
            not fit.is_proven
            and fit.loss_as_read > _NOISY
            and fit.num_steps >= 10
            and not step_offsets(context).positions.intersection(fit.positions)
        ):  # its energies are at fault
            yield Finding(
                "warn",
                f"{_title(name)}: energies and stresses agree in no unit or sign ({fit.num_steps} "
                f"steps, "
                f"median error {1000 * _per_atom(fit):.2g} meV/atom): k-points or cutoff not converged?",
                fit.loss_as_read,
                _NOISY,
                "",
                context.places(fit.positions, label="stress"),
                "give these frames config_stress_weight=0, or compute them with a denser k-mesh",
            )
    noisy = {
        name: fit
        for name, fit in fits.items()
        if fit.is_proven and fit.noise > _NOISE and not step_offsets(context).positions.intersection(fit.positions)
    }
    for name, fit in noisy.items():
        yield Finding(
            "note",
            f"{_title(name)}: energies scatter by {1000 * fit.noise:.2g} meV/atom about what the "
            f"stress "
            f"says (k-points or cutoff not converged)",
            1000 * fit.noise,
            None,
            "meV/atom",
        )
    if right:
        steps = sum(fit.num_steps for fit in right.values())
        slope = np.average([fit.slope for fit in right.values()], weights=[fit.num_steps for fit in right.values()])
        yield Finding(
            "note",
            f"proven eV/A^3, tension positive, in {len(right)} groups "
            f"({', '.join(map(_title, list(right)[:6]))}"
            f"{', ...' if len(right) > 6 else ''}): {steps} steps between near frames, dE / stress work "
            f"{slope:.3f}",
        )
    elif not wrong:
        alone = context.files[0].report.stress_sign if len(context.files) == 1 else None
        proof = alone or prove_sign(context.frames)
        if proof.sign < 0:
            yield Finding(
                "fail",
                proof.sentence(),
                proof.ratio,
                None,
                "",
                advice="set data.units.stress_sign=compression_positive (--units stress_sign=compression_positive)",
            )
        elif proof.unit_factor is not None:
            yield Finding(
                "fail",
                f"{proof.sentence()}: stress times {proof.unit_factor:.3g} would fit the energies",
                proof.ratio,
                1.0,
                "",
                advice=f"it looks like {proof.likely_unit}; see data.units.stress",
            )
        else:
            yield Finding("note", f"not provable by steps between near frames; {proof.sentence()}")


def _by_unit(fits: dict[tuple[str, str], Fit]) -> dict[tuple[str, int], dict[tuple[str, str], Fit]]:
    found: dict[tuple[str, int], dict] = {}
    for name, fit in fits.items():
        found.setdefault((fit.unit, fit.sign), {})[name] = fit
    return found


def _wrong_unit(
    context: Context, unit: str, sign: int, members: dict[tuple[str, str], Fit], *, everything_wrong: bool
) -> Finding:
    positions = sorted({position for name in members for position in _group(context, name)})
    # One key in one file has one unit: where every group that can tell says the same, it is said of the others too.
    is_whole = everything_wrong and len(_by_unit({n: f for n, f in context.stress_fits.items() if f.is_wrong})) == 1
    if is_whole:
        files = {id(context.file_of[position]) for position in positions}
        positions = [
            k for k, frame in enumerate(context.frames) if frame.stress is not None and id(context.file_of[k]) in files
        ]
    what = []
    if sign < 0:
        what.append("of the opposite sign (compression positive)")
    if unit != "eV/A^3":
        what.append(f"in {unit}")
    steps = sum(fit.num_steps for fit in members.values())
    loss = max(fit.loss for fit in members.values())
    worse = min(fit.loss_as_read for fit in members.values())
    groups = ", ".join(map(_title, members))
    factor = ("virial", sign) if unit == VIRIAL else sign * STRESS_CANDIDATES[unit]
    words = [
        *([f"stress={unit}"] if unit in STRESS_CANDIDATES and unit != "eV/A^3" else []),
        *(["stress_sign=compression_positive"] if sign < 0 else []),
    ]
    in_configuration = ", ".join(f"data.units.{word}" for word in words)
    return Finding(
        "fail",
        f"the stress is {' and '.join(what)}: {steps} steps between near frames of {groups} fit their "
        f"energies so "
        f"(error {loss:.2g} of the expected), and not as read ({worse:.2g})"
        + ("; the rest of the file goes with them" if is_whole else ""),
        worse,
        GOOD_LOSS,
        "",
        context.places(positions, label="stress"),
        f"read it with --units {' '.join(words)} (in a configuration {in_configuration})"
        if is_whole and words
        else "correct these groups (--fix OUT does)",
        Fix("stress_factor", tuple(positions), factor, f"stress was {' and '.join(what)}, proven by {steps} steps"),
    )


@check("S", "pulay", "no constant stress beside the energies' own")
def pulay(context: Context) -> Iterator[Finding]:
    """A hydrostatic stress that energies at different volumes do not know of: an incomplete plane-wave basis."""
    for name, fit in _fits(context).items():
        explains = fit.loss_without_offset > max(_SHOWS, _EXPLAINS * fit.loss)
        if (
            fit.is_proven
            and explains
            and abs(fit.offset_gpa) > PULAY_GPA
            and abs(fit.offset_gpa) > _SIGNIFICANT * fit.offset_error_gpa
        ):
            positions = _group(context, name)
            yield Finding(
                "warn",
                f"{_title(name)}: energies change as if the stress were {fit.offset_gpa:+.2f} ± "
                f"{fit.offset_error_gpa:.2f} GPa (hydrostatic); with that constant {fit.num_steps} steps agree to "
                f"{1000 * _per_atom(fit):.2g} meV/atom: sign and unit are right, this is a Pulay stress",
                abs(fit.offset_gpa),
                PULAY_GPA,
                "GPa",
                context.places(positions, label="stress"),
                "energies and stresses of these frames cannot both be fitted: give them config_energy_weight or "
                "config_stress_weight 0, or recompute at a higher cutoff",
            )


@check("S", "shear-order", "order of the shear components")
def shear_order(context: Context) -> Iterator[Finding]:
    """Whether another order of yz, xz, xy makes stress and energies agree."""
    proven = {}
    for name, fit in _fits(context).items():
        as_read = fit.shear_losses.get(IDENTITY, np.inf)
        if not fit.shear_losses or fit.loss > GOOD_LOSS:
            continue
        if fit.shear != IDENTITY and fit.is_proven and as_read > max(4.0 * fit.loss, _SHOWS):
            yield _wrong_order(context, name, fit, as_read)
        elif fit.shear == IDENTITY and fit.is_proven:
            others = [loss for order, loss in fit.shear_losses.items() if order != IDENTITY]
            if others and min(others) > max(4.0 * as_read, _SHOWS):
                proven[name] = fit
    if proven:
        yield Finding(
            "note",
            f"proven yz, xz, xy in {', '.join(map(_title, list(proven)[:6]))}"
            f"{', ...' if len(proven) > 6 else ''}; groups without sheared cells cannot tell",
        )


def _wrong_order(context: Context, name: tuple[str, str], fit: Fit, as_read: float) -> Finding:
    stresses = [context.frames[position].stress for position in fit.positions]
    tied = [
        order
        for order, loss in fit.shear_losses.items()
        if order != fit.shear and loss < max(2.0 * fit.loss, 0.05) and not _same_effect(stresses, order, fit.shear)
    ]
    positions = _group(context, name)
    orders = " or ".join(_order_words(order) for order in (fit.shear, *tied))
    return Finding(
        "fail",
        f"{_title(name)}: the shear components are stored as {orders}, where yz, xz, xy is expected: "
        f"{fit.num_steps} steps fit their energies so (error {fit.loss:.2g} of the expected), and not as read "
        f"({as_read:.2g})",
        as_read,
        GOOD_LOSS,
        "",
        context.places(positions, label="stress"),
        "write the nine numbers of the matrix, or reorder the six (VASP prints xx yy zz xy yz zx; ASE's order is xx yy "
        "zz yz xz xy)",
        None
        if tied
        else Fix(
            "shear_order",
            tuple(positions),
            fit.shear,
            f"shear components were stored as {orders}, proven by {fit.num_steps} steps",
        ),
    )


def _order_words(order: Sequence[int]) -> str:
    """What stands in the file's fourth, fifth and sixth place."""
    stored = [""] * 3
    for true, source in enumerate(order):
        stored[source] = SHEAR_NAMES[true]
    return ", ".join(stored)


def _same_effect(stresses: Sequence[np.ndarray], one: Sequence[int], two: Sequence[int]) -> bool:
    size = max(float(np.abs(stress).max()) for stress in stresses)
    return all(
        np.abs(reorder_shear(stress, one) - reorder_shear(stress, two)).max() < 1e-3 * size for stress in stresses
    )


def _group(context: Context, name: tuple[str, str]) -> list[int]:
    """All frames with a stress of a group, also those no step leads to."""
    config_type, formula = name
    return [
        position
        for position, frame in enumerate(context.frames)
        if frame.config_type == config_type
        and frame.stress is not None
        and frame.atoms.get_chemical_formula() == formula
    ]


def _title(name: tuple[str, str]) -> str:
    return f"{name[0] or '(none)'} {name[1]}"


def _per_atom(fit: Fit) -> float:
    sizes = np.array([step.num_atoms for step in fit.steps])
    return float(np.median(np.abs(fit.residuals) / sizes)) if len(sizes) else 0.0
