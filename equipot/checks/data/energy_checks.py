"""Group E: energies that are not those the forces belong to, and energies of one atom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from equipot.checks.data.energy_kind import OTHER, PER_ATOM, READ
from equipot.checks.data.registry import Context, check
from equipot.checks.data.result import Finding, Fix, Skip
from equipot.units import MEV_PER_EV

#: Two energies whose difference varies by less than this (eV/atom) say the same.
_SAME = 1e-3
#: Energies of one atom fit a mean by composition so many times better than totals, over sizes so many times apart.
_BETTER, _SIZES, _MIN_FRAMES = 5.0, 1.5, 8


@check("E", "energy-key", "forces belong to the energies")
def energy_key(context: Context) -> Iterator[Finding]:
    """``energy`` beside ``free_energy``: which of them the forces and stresses are the derivatives of."""
    having = [
        k for k in context.bound if np.isfinite(context.frames[k].other_energy) and context.frames[k].has("energy")
    ]
    if not having:
        raise Skip("no frame has both an energy and a free energy")
    file = context.file_of[having[0]].report
    used, other = file.keys.get("energy"), file.other_energy_key
    apart = np.array(
        [(context.frames[k].other_energy - context.frames[k].energy) / len(context.frames[k].atoms) for k in having]
    )
    spread = float(np.ptp(apart))
    kind = context.energy_kind
    if kind.kind == OTHER:
        yield Finding(
            "fail",
            f"forces and stress belong to '{other}' and not to '{used}', which the energies are read from: "
            f"{kind.num_steps} steps between near frames leave {MEV_PER_EV * kind.error_best:.2g} meV/atom with "
            f"'{other}', {MEV_PER_EV * kind.error_read:.3g} with '{used}'",
            MEV_PER_EV * kind.error_read,
            None,
            "meV/atom",
            context.places(having, label="energy"),
            f"read it: --keys energy={other} (training does so of itself)",
        )
    elif kind.kind == READ and kind.rival == OTHER:
        yield Finding("note", f"forces and stress belong to '{used}', by {kind.num_steps} steps between near frames")
    elif spread > _SAME:
        yield Finding("warn", assumed(used, other, spread), MEV_PER_EV * spread, MEV_PER_EV * _SAME, "meV/atom")
    else:
        yield Finding(
            "note",
            f"'{used}' and '{other}' differ by {MEV_PER_EV * apart.mean():.3g} meV/atom in all frames (to "
            f"{MEV_PER_EV * spread:.2g}): either goes with the forces",
        )


def assumed(used: str | None, other: str | None, spread: float) -> str:
    """What is said where the frames cannot tell which energies the forces belong to."""
    return (
        f"the energies are read from '{used}', and '{other}' differs from it by amounts that vary by "
        f"{MEV_PER_EV * spread:.3g} meV/atom; no frames are near enough to each other to tell which of them the forces "
        f"belong to. By the convention of VASP and ASE it is 'free_energy'; that '{used}' does is assumed "
        f"(data.keys.energy chooses)"
    )


@check("E", "energy-per-atom", "energies are those of whole frames")
def energy_per_atom(context: Context) -> Iterator[Finding]:
    """Energies of one atom: by the work of the forces, or by frames of several sizes."""
    having = [k for k in context.bound if context.frames[k].has("energy") and len(context.frames[k].atoms) > 1]
    if not having:
        raise Skip("no frame of several atoms has an energy")
    proof = per_atom_proof(context, having)
    if proof is not None:
        yield Finding(
            "fail",
            f"the energies are those of one atom: {proof}",
            places=context.places(having, label="energy"),
            advice="read them with --units energy=eV/atom (data.units.energy=eV/atom), or correct the file (--fix OUT)",
            fix=Fix("energy_per_atom", tuple(having), None, f"energies were those of one atom ({proof})"),
        )


def per_atom_proof(context: Context, having: Sequence[int]) -> str | None:
    """What proves that the energies of these frames are those of one atom, in words; None where nothing does."""
    kind = context.energy_kind
    if kind.kind == PER_ATOM:
        return (
            f"{kind.num_steps} steps between near frames leave {MEV_PER_EV * kind.error_best:.2g} meV/atom with N "
            f"times the energy, {MEV_PER_EV * kind.error_read:.3g} as read"
        )
    if kind.kind or any(fit.is_right for fit in context.force_fits.values()):
        return None
    frames = [context.frames[k] for k in having]
    sizes = np.array([len(frame.atoms) for frame in frames], dtype=float)
    if len(frames) < _MIN_FRAMES or sizes.max() < _SIZES * sizes.min():
        return None
    symbols = {symbol: column for column, symbol in enumerate(context.elements)}
    shares = np.zeros((len(frames), len(symbols)))
    for row, frame in enumerate(frames):
        for symbol in frame.atoms.get_chemical_symbols():
            shares[row, symbols[symbol]] += 1.0 / sizes[row]
    energies = np.array([frame.energy for frame in frames])
    as_total, as_one = (_left(shares, values) for values in (energies / sizes, energies))
    if as_one * _BETTER > as_total:
        return None
    return (
        f"in frames of {sizes.min():.0f} to {sizes.max():.0f} atoms they do not grow with the number of atoms (a mean "
        f"by composition leaves {as_one:.3g} eV of them, and {as_total:.3g} eV/atom where they are taken as totals)"
    )


def _left(shares: np.ndarray, values: np.ndarray) -> float:
    """Root mean square of what the composition leaves of some numbers."""
    solution = np.linalg.lstsq(shares, values, rcond=1e-8)[0]
    return float(np.sqrt(np.mean((values - shares @ solution) ** 2)))
