"""Atomic reference energies E0: from isolated-atom frames, given, or by least squares on composition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from equipot.data.frames import Frame
from equipot.data.isolated import is_isolated_atom
from equipot.errors import ConfigError, DataError
from equipot.units import MEV_PER_EV

#: Singular values of the composition matrix below this fraction of the largest count as zero.
_RANK_TOLERANCE = 1e-8
#: A better-than-singular but badly determined fit is reported from here on.
_LARGE_CONDITION = 1e3
_SAME_ENERGY = 1e-3


@dataclass
class AtomicEnergies:
    """E0 of each element and how it was found.

    Attributes:
        values: Element symbol -> eV, in ascending order of atomic number.
        origin: ``isolated``, ``least_squares`` or ``given``; in a fine-tuning also ``refit`` or ``base``.
        rank: Independent compositions among the frames (least squares only).
        num_elements: Elements fitted.
        condition: Ratio of the largest to the smallest non-zero singular value of the composition matrix.
        residual_rms_mev_per_atom: What composition alone does not explain of the energies (meV/atom).
        warnings: Sentences the user should read.
    """

    values: dict[str, float]
    origin: str
    rank: int | None = None
    num_elements: int = 0
    condition: float | None = None
    residual_rms_mev_per_atom: float | None = None
    warnings: list[str] = field(default_factory=list)

    def of(self, atoms) -> float:
        """Sum of E0 over a structure (eV)."""
        return float(sum(self.values[symbol] for symbol in atoms.get_chemical_symbols()))

    def lines(self) -> list[str]:
        """Printable lines."""
        names = {
            "isolated": "isolated-atom frames",
            "given": "given",
            "least_squares": "least squares on composition",
            "refit": "least squares of what the base leaves",
            "base": "the base",
        }
        lines = [
            f"atomic energies from {names[self.origin]}: "
            + ", ".join(f"{symbol} {value:.4f} eV" for symbol, value in self.values.items())
        ]
        if self.rank is not None:
            lines.append(f"  rank {self.rank} of {self.num_elements}, condition {self.condition:.3g}")
        if self.residual_rms_mev_per_atom is not None:
            lines.append(f"  energies less atomic energies: rms {self.residual_rms_mev_per_atom:.1f} meV/atom")
        return lines + [f"  warning: {warning}" for warning in self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def fit_atomic_energies(
    frames: Sequence[Frame], elements: Sequence[str], *, method: str | Mapping[str, float] = "auto"
) -> AtomicEnergies:
    """Find E0 for each element.

    Args:
        frames: Training frames, isolated atoms included.
        elements: Symbols that need a value, in the order of the result.
        method: ``auto`` (isolated-atom frames where they cover all elements, else least squares), ``isolated``,
            ``least_squares``, or the values themselves (eV).

    Raises:
        ConfigError: Given values lack an element or are not finite.
        DataError: ``isolated`` was asked for and an element has no isolated-atom frame.
    """
    isolated, warnings = isolated_energies(frames)
    bound = [frame for frame in frames if frame.has("energy") and not is_isolated_atom(frame)]
    if isinstance(method, Mapping):
        result = _given(method, elements)
        for symbol, energy in isolated.items():
            if symbol in result.values and abs(result.values[symbol] - energy) > _SAME_ENERGY:
                warnings.append(
                    f"the given atomic energy of {symbol} ({result.values[symbol]:.4f} eV) differs from "
                    f"its isolated-atom frame ({energy:.4f} eV)"
                )
    elif method == "isolated" or (method == "auto" and isolated and set(elements) <= set(isolated)):
        missing = [symbol for symbol in elements if symbol not in isolated]
        if missing:
            raise DataError(
                f"data.atomic_energies=isolated, but there is no isolated-atom frame with an energy for "
                f"{', '.join(missing)}. Add one frame with a single atom and config_type=IsolatedAtom, or use "
                f"least_squares."
            )
        result = AtomicEnergies(
            {symbol: isolated[symbol] for symbol in elements}, "isolated", num_elements=len(elements)
        )
    else:
        if isolated and method == "auto":
            missing = [symbol for symbol in elements if symbol not in isolated]
            warnings.append(
                f"there are isolated-atom frames for {', '.join(isolated)} but not for "
                f"{', '.join(missing)}; all atomic energies are fitted by least squares instead"
            )
        result = _least_squares(bound, elements)
    result.warnings = warnings + result.warnings
    _describe_residual(result, bound)
    return result


def isolated_energies(frames: Sequence[Frame]) -> tuple[dict[str, float], list[str]]:
    """Element -> energy (eV) of its isolated-atom frames, and warnings."""
    found: dict[str, list[float]] = {}
    for frame in frames:
        if frame.has("energy") and is_isolated_atom(frame):
            found.setdefault(frame.atoms.get_chemical_symbols()[0], []).append(frame.energy)
    warnings = [
        f"the isolated-atom frames of {symbol} disagree ({min(values):.4f} to {max(values):.4f} eV); the lowest is used"
        for symbol, values in found.items()
        if max(values) - min(values) > _SAME_ENERGY
    ]
    return {symbol: min(values) for symbol, values in found.items()}, warnings


def _given(values: Mapping[str, float], elements: Sequence[str]) -> AtomicEnergies:
    for symbol, value in values.items():
        if symbol not in atomic_numbers or symbol == "X":
            raise ConfigError(f"data.atomic_energies: '{symbol}' is not a chemical element.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise ConfigError(f"data.atomic_energies.{symbol} must be a finite number in eV, found {value!r}.")
    missing = [symbol for symbol in elements if symbol not in values]
    if missing:
        raise ConfigError(
            f"data.atomic_energies has no value for {', '.join(missing)}, which the frames contain; it "
            f"has {', '.join(values) or 'none'}."
        )
    return AtomicEnergies({symbol: float(values[symbol]) for symbol in elements}, "given", num_elements=len(elements))


def _least_squares(frames: Sequence[Frame], elements: Sequence[str]) -> AtomicEnergies:
    if not frames:
        return AtomicEnergies(
            dict.fromkeys(elements, 0.0),
            "least_squares",
            0,
            len(elements),
            1.0,
            warnings=["no training frame (other than isolated atoms) has an energy: the atomic energies are zero"],
        )
    column = {atomic_numbers[symbol]: place for place, symbol in enumerate(elements)}
    fractions = np.zeros((len(frames), len(elements)))
    for row, frame in enumerate(frames):
        for number, count in zip(*np.unique(frame.atoms.numbers, return_counts=True)):
            fractions[row, column[int(number)]] = count / len(frame.atoms)
    energies = np.array([frame.energy / len(frame.atoms) for frame in frames])
    return fit_composition(fractions, energies, elements)


def fit_composition(fractions: np.ndarray, energies: np.ndarray, elements: Sequence[str]) -> AtomicEnergies:
    """Least squares of energies per atom on composition.

    Args:
        fractions: (frames, elements) share of each element in each frame.
        energies: (frames,) eV/atom.
        elements: symbols of the columns.

    Returns:
        A value for each element, rank, condition and warnings; the nearest to equal values where the compositions do
        not determine them.
    """
    mean = energies.mean()
    # Rows sum to one, so subtracting the mean leaves the fit unchanged, and where compositions do not determine the
    # energies the minimum-norm solution keeps the elements' energies together instead of sharing out the total.
    solution, _, rank, singular = np.linalg.lstsq(fractions, energies - mean, rcond=_RANK_TOLERANCE)
    condition = float(singular[0] / singular[rank - 1])
    result = AtomicEnergies(
        {symbol: float(mean + value) for symbol, value in zip(elements, solution)},
        "least_squares",
        int(rank),
        len(elements),
        condition,
    )
    absent = [symbol for place, symbol in enumerate(elements) if not fractions[:, place].any()]
    if absent:
        result.warnings.append(
            f"no training frame with an energy contains {', '.join(absent)}: the mean energy per atom is used for it"
        )
    if rank < len(elements) - len(absent):
        result.warnings.append(
            f"the compositions of the frames determine only {rank} of {len(elements)} atomic energies (a fixed ratio "
            f"of elements): the solution nearest to equal energies is used; other compositions will not be predicted. "
            f"Add isolated-atom frames or give data.atomic_energies"
        )
    elif condition > _LARGE_CONDITION:
        result.warnings.append(
            f"the atomic energies are badly determined (condition {condition:.2g}): the compositions hardly differ"
        )
    return result


def _describe_residual(result: AtomicEnergies, frames: Sequence[Frame]) -> None:
    if not frames:
        return
    left = np.array([(frame.energy - result.of(frame.atoms)) / len(frame.atoms) for frame in frames])
    result.residual_rms_mev_per_atom = float(np.sqrt(np.mean(left**2)) * MEV_PER_EV)
    largest = float(np.abs(left).max())
    if largest > 50.0:
        worst = frames[int(np.abs(left).argmax())]
        result.warnings.append(
            f"energies less atomic energies reach {largest:.0f} eV/atom ({worst.source}): are the "
            f"atomic energies and the total energies of one calculation?"
        )
