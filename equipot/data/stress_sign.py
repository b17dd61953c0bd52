"""Proving the sign and the unit of the stress from energies: between two close frames, dE = V sigma : d(eps).

For equal atoms in two slightly different cells, the energy difference less the work of the forces must equal the work
of the stress, (V sigma) : strain, trapezoid rule on both ends. With only the volume changing this is
trace(sigma)/3 = dE/dV. The ratio of the two sides is +1 where the stress is positive under tension in eV/A^3, -1 where
it is positive under compression, and 1/160.2 where it is in GPa.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from equipot.data.frames import Frame
from equipot.data.pair_work import pair_work
from equipot.units import STRESS_UNITS

#: Relative change of volume between two frames that are compared.
_SMALLEST, _LARGEST = 2e-3, 0.25
#: Energy difference (eV/atom) below which a pair says nothing.
_MIN_ENERGY = 1e-4
#: Energy difference (eV/atom) from which a pair counts fully.
_FULL_ENERGY = 0.01
#: Largest displacement (Angstrom) over which forces are taken as linear.
_MAX_DISPLACEMENT = 0.3
_MIN_PAIRS, _MIN_AGREEMENT = 3, 0.8


@dataclass(frozen=True)
class SignProof:
    """What pairs of frames say about a stress label.

    Attributes:
        sign: +1 tension positive (ASE's), -1 compression positive, 0 where the frames cannot tell.
        ratio: Weighted median of energy difference over stress work; 1 where sign and unit are right.
        agreement: Fraction of pairs with the sign of the median (small energy differences count less).
        num_pairs: Pairs of frames compared.
        num_groups: Groups (same atoms, same config_type) they come from.
    """

    sign: int
    ratio: float
    agreement: float
    num_pairs: int
    num_groups: int

    @property
    def unit_factor(self) -> float | None:
        """Factor the stress seems to be off by, or None where it is right within a factor of five or unknown."""
        return None if self.sign == 0 or 0.2 <= abs(self.ratio) <= 5.0 else abs(self.ratio)

    @property
    def is_right(self) -> bool:
        """Whether sign and unit are proven to be as they were read."""
        return self.sign > 0 and self.unit_factor is None

    @property
    def likely_unit(self) -> str | None:
        """The unit in which stresses read as eV/A^3 seem to be, where the ratio is that of a known one."""
        if self.unit_factor is None:
            return None
        unit = min(STRESS_UNITS, key=lambda name: abs(np.log(self.unit_factor / STRESS_UNITS[name])))
        return unit if 0.5 < self.unit_factor / STRESS_UNITS[unit] < 2.0 else None

    def sentence(self) -> str:
        """The proof in words."""
        if self.sign == 0:
            return (
                f"stress sign not provable: {self.num_pairs} usable pairs of frames with the same atoms at "
                f"different volumes (at least {_MIN_PAIRS} that agree are needed)"
            )
        name = "tension positive" if self.sign > 0 else "compression positive"
        return (
            f"stress sign proven {name} by {self.num_pairs} pairs of frames (dE / stress work {self.ratio:.3g}, "
            f"{100 * self.agreement:.0f} % agree)"
        )

    def to_dict(self) -> dict[str, Any]:
        """The proof as numbers for JSON."""
        return {**asdict(self), "ratio": self.ratio if np.isfinite(self.ratio) else None, "sentence": self.sentence()}


def prove_sign(frames: Sequence[Frame]) -> SignProof:
    """Compare energies and stresses over frames of the same atoms and config_type at several volumes.

    Args:
        frames: Frames with the stress as it was read; those without energy or stress are left aside.
    """
    groups: dict[tuple, list[Frame]] = defaultdict(list)
    for frame in frames:
        frame = frame.counting()
        if frame.has("energy") and frame.stress is not None and np.isfinite(frame.volume):
            groups[frame.config_type, frame.atoms.numbers.tobytes()].append(frame)
    pairs: list[tuple[float, float]] = []
    num_groups = 0
    for members in groups.values():
        members = sorted(members, key=lambda frame: frame.volume)
        found = [ratio for pair in _pairs(members) if (ratio := _ratio(*pair)) is not None]
        pairs += found
        num_groups += bool(found)
    if not pairs:
        return SignProof(0, float("nan"), 0.0, 0, 0)
    ratios, weights = np.array(sorted(pairs)).T
    median = float(ratios[np.searchsorted(np.cumsum(weights), 0.5 * weights.sum())])
    agreement = float(np.sum(weights[np.sign(ratios) == np.sign(median)]) / weights.sum())
    proven = len(ratios) >= _MIN_PAIRS and agreement >= _MIN_AGREEMENT
    return SignProof(int(np.sign(median)) if proven else 0, median, agreement, len(ratios), num_groups)


def _pairs(members: list[Frame]):
    """Each frame with the next one that is noticeably larger; members by ascending volume."""
    volumes = np.array([frame.volume for frame in members])
    for frame, place in zip(members, np.searchsorted(volumes, volumes * (1.0 + _SMALLEST), side="right")):
        if place < len(members) and volumes[place] < frame.volume * (1.0 + _LARGEST):
            yield frame, members[place]


def _ratio(first: Frame, second: Frame) -> tuple[float, float] | None:
    """Energy difference over stress work, and how much the pair counts."""
    step = pair_work(first, second, largest_strain=_LARGEST, largest_displacement=_MAX_DISPLACEMENT)
    if step is None:
        return None
    energy, stress_work = step.energy - step.force_work, step.stress_work
    if max(abs(energy), abs(stress_work)) < _MIN_ENERGY * len(first.atoms) or stress_work == 0.0:
        return None
    # Near the minimum of the energy a Pulay stress of 1 GPa decides the sign; far from it nothing small does.
    return float(energy / stress_work), float(min(abs(energy) / len(first.atoms), _FULL_ENERGY))
