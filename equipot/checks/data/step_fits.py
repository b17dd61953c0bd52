"""Which unit, sign and order of components make stresses and forces agree with energies, from steps of one group.

Each candidate (right as it is, sign turned, GPa, kbar, ...) predicts the energy of every step; the errors, over what
the trapezoid rule may miss, are compared by Huber's loss. A constant hydrostatic stress (Pulay) is fitted beside each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
from ase import units as ase_units

from equipot.checks.data.steps import Step
from equipot.data.frames import Frame
from equipot.data.pair_work import NEGLIGIBLE_DISPLACEMENT
from equipot.units import FORCE_UNITS, STRESS_UNITS

#: Steps a group must have to say anything.
_MIN_STEPS = 4
#: A candidate is proven where its loss is below the first and so many times smaller than that of the others.
GOOD_LOSS, PROOF = 1.5, 4.0
#: A constant stress beyond this (GPa) is no Pulay stress but a wrong unit that was fitted away.
_LARGEST_OFFSET = 20.0
#: Steps too far apart for a proof by size still prove a sign by this correlation.
_MIN_CORRELATED, _CORRELATION, _SIGNIFICANCE = 10, 0.5, 3.0
#: What a step may be off: noise of energies (eV/atom), parts of the work and of its change between both ends.
_NOISE, _PART, _STRESS_CURVATURE, _FORCE_CURVATURE = 2e-5, 0.01, 0.1, 0.3
#: Factor of stresses read as eV/A^3 -> what they are.
STRESS_CANDIDATES: dict[str, float] = {
    "eV/A^3": 1.0,
    **{unit: factor for unit, factor in STRESS_UNITS.items() if unit != "eV/A^3"},
    "Ha/Bohr^3": ase_units.Hartree / ase_units.Bohr**3,
    "Ry/Bohr^3": ase_units.Rydberg / ase_units.Bohr**3,
}
#: Factor of forces read as eV/A -> what they are, the energies being in eV.
FORCE_CANDIDATES: dict[str, float] = {"eV/A": 1.0, **{u: f for u, f in FORCE_UNITS.items() if u != "eV/A"}}
VIRIAL = "eV (a virial, stress times volume)"
#: The shear components yz, xz, xy of the file's order, as other programs order them.
SHEAR_NAMES = ("yz", "xz", "xy")
IDENTITY = (0, 1, 2)


@dataclass(frozen=True)
class Fit:
    """What the steps of a group say about a label.

    Attributes:
        label: ``stress`` or ``forces``.
        num_steps: Steps compared.
        unit, sign: The best candidate.
        is_proven: Whether it is good, and the others (also none at all) are not.
        loss, loss_as_read: Huber loss of the best candidate, and of the label as it was read.
        slope, slope_error: Energy over work with the best candidate: 1 where all is well.
        offset_gpa, offset_error_gpa: Stress (GPa) to be added to agree with the energies (Pulay), in the best unit.
        loss_without_offset: Loss of the best candidate without it.
        shear: Where yz, xz, xy are best taken from; ``(0, 1, 2)`` is as read.
        shear_losses: Order -> loss.
        residuals, errors: Of each step (eV), with the best candidate where it is proven and as read where none is: what
            is left, and what may be.
        steps: The steps.
        positions: Frames in them.
        is_rough: Only sign and rough unit are known.
        noise: Of the energies, where more than expected had to be assumed (eV/atom).
    """

    label: str
    num_steps: int
    unit: str = ""
    sign: int = 1
    is_proven: bool = False
    loss: float = np.inf
    loss_as_read: float = np.inf
    slope: float = np.nan
    slope_error: float = np.inf
    offset_gpa: float = 0.0
    offset_error_gpa: float = np.inf
    loss_without_offset: float = np.inf
    shear: tuple[int, int, int] = IDENTITY
    shear_losses: Mapping[tuple[int, int, int], float] = field(default_factory=dict)
    residuals: np.ndarray = field(default_factory=lambda: np.zeros(0))
    errors: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: Sequence[Step] = ()
    positions: tuple[int, ...] = ()
    is_rough: bool = False
    noise: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether the label is proven to be in the unit and sign it was read in."""
        return self.is_proven and self.sign > 0 and self.unit in ("eV/A^3", "eV/A")

    @property
    def is_wrong(self) -> bool:
        """Whether the label is proven to be in another unit or of the other sign."""
        return self.is_proven and not self.is_right


def fit_groups(
    groups: Mapping[tuple[str, str], Sequence[Step]],
    frames: Sequence[Frame],
    fit: Callable[[Sequence[Step], Sequence[Frame]], Fit | None],
) -> dict[tuple[str, str], Fit]:
    """Fit each group that has steps of the kind."""
    found = {name: fit(steps, frames) for name, steps in groups.items()}
    return {name: one for name, one in found.items() if one is not None}


def stress_fit(steps: Sequence[Step], frames: Sequence[Frame]) -> Fit | None:
    """Compare the candidates for the stress over the steps between different cells."""
    steps = [step for step in steps if step.work.first is not None]
    if len(steps) < _MIN_STEPS:
        return None
    data = _Steps(steps)
    volumes = np.array([[frames[step.first].volume, frames[step.second].volume] for step in steps])
    options = {name: (factor, factor) for name, factor in STRESS_CANDIDATES.items()}
    options[VIRIAL] = (1.0 / volumes[:, 0, None, None], 1.0 / volumes[:, 1, None, None])
    losses, best = _try_candidates(data, options)
    noise = 0.0
    if losses[best].loss > GOOD_LOSS:  # energies noisier than they should be: does the truth stand out all the same?
        noise = data.add_noise(losses[best].residuals)
        losses, best = _try_candidates(data, options)
    name, sign, order = best
    solution, nothing = losses[best], data.solve(0.0, 0.0, IDENTITY)
    rivals = [nothing.loss, *(other.loss for key, other in losses.items() if key[:2] != best[:2])]
    proven = (
        solution.loss < GOOD_LOSS
        and min(rivals) > PROOF * max(solution.loss, 0.02)
        and abs(solution.offset) / ase_units.GPa < _LARGEST_OFFSET
    )
    slope, slope_error = data.slope(options[name], sign, order)
    proven = proven and 0.6 < slope < 1.7
    as_read = losses["eV/A^3", 1, IDENTITY]
    factors = options[name] if proven else (1.0, 1.0)
    turn = sign if proven else 1
    residuals, errors = data.consensus(turn * factors[0], turn * factors[1], order if proven else IDENTITY)
    return Fit(
        "stress",
        len(steps),
        name,
        sign,
        proven,
        solution.loss,
        as_read.loss,
        slope,
        slope_error,
        solution.offset / ase_units.GPa,
        solution.offset_error / ase_units.GPa,
        solution.loss_without,
        order,
        {key[2]: other.loss for key, other in losses.items() if key[:2] == best[:2]},
        residuals,
        errors,
        steps,
        _positions(steps),
        noise=noise,
    )


def _try_candidates(data: _Steps, options: Mapping[str, tuple]) -> tuple[dict[tuple, _Solution], tuple]:
    """Every unit and sign, and every order of shear components in those that may be; the best of all."""
    losses: dict[tuple, _Solution] = {}
    for name, factors in options.items():
        for sign in (1, -1):
            losses[name, sign, IDENTITY] = data.solve(sign * factors[0], sign * factors[1], IDENTITY)
    first = min(losses, key=lambda key: losses[key].loss)
    # In one order or another the best unit may be another.
    for order in permutations(range(3)):
        for name, sign in {first[:2], ("eV/A^3", 1), ("eV/A^3", -1), ("GPa", -1), ("kbar", -1)}:
            factors = options[name]
            losses[name, sign, order] = data.solve(sign * factors[0], sign * factors[1], order)
    return losses, min(losses, key=lambda key: losses[key].loss * (1.0 if key[2] == IDENTITY else 1.2))


def force_fit(steps: Sequence[Step], frames: Sequence[Frame]) -> Fit | None:
    """Compare the candidates for the forces over the steps within one cell."""
    del frames
    steps = [
        step
        for step in steps
        if step.work.first is None
        and step.work.displacement >= NEGLIGIBLE_DISPLACEMENT
        and step.work.force_work != 0.0
        and np.abs(step.work.strain).max() < 1e-7
    ]
    if len(steps) < _MIN_STEPS:
        return None
    # Where both ends do not agree on the direction, the size of the step's work says little.
    straight = [step for step in steps if step.work.force_curvature < 2.0 * abs(step.work.force_work)]
    fit = _force_candidates(straight) if len(straight) >= _MIN_STEPS else None
    return fit if fit is not None and fit.is_proven else _correlated(steps, fit)


def _force_candidates(steps: Sequence[Step]) -> Fit:
    energy, work, curvature, noise = _force_arrays(steps)

    def solve(factor: float) -> tuple[float, np.ndarray, np.ndarray]:
        errors = noise + abs(factor) * (_PART * np.abs(work) + _FORCE_CURVATURE * curvature)
        residuals = energy - factor * work
        return _huber(residuals / errors), residuals, errors

    found = {(name, sign): solve(sign * factor) for name, factor in FORCE_CANDIDATES.items() for sign in (1, -1)}
    best = min(found, key=lambda key: found[key][0])
    loss, residuals, errors = found[best]
    rivals = [
        _huber(energy / (noise + _PART * np.abs(energy))),
        *(other[0] for key, other in found.items() if key != best),
    ]
    work = best[1] * FORCE_CANDIDATES[best[0]] * work
    norm = float(np.sum((work / errors) ** 2))
    slope = float(np.sum(energy * work / errors**2) / norm)
    proven = loss < GOOD_LOSS and min(rivals) > PROOF * max(loss, 0.02) and 0.3 < slope < 2.0
    return Fit(
        "forces",
        len(steps),
        *best,
        proven,
        loss,
        found["eV/A", 1][0],
        slope,
        norm**-0.5,
        residuals=residuals,
        errors=errors,
        steps=steps,
        positions=_positions(steps),
    )


def _correlated(steps: Sequence[Step], fit: Fit | None) -> Fit | None:
    """The sign and rough unit by correlation: for molecular dynamics, whose frames are far apart."""
    energy, work, curvature, noise = _force_arrays(steps)
    weights = 1.0 / (noise + np.abs(work) + curvature)
    x, y = work * weights, energy * weights
    norm = float(np.sqrt(np.sum(x**2) * np.sum(y**2)))
    correlation = float(np.sum(x * y) / norm) if norm else 0.0
    enough = max(_CORRELATION, _SIGNIFICANCE / np.sqrt(len(steps)))
    if len(steps) < _MIN_CORRELATED or abs(correlation) < enough:
        return fit
    slope = float(np.sum(x * y) / np.sum(x**2))
    unit = min(FORCE_CANDIDATES, key=lambda name: abs(np.log(abs(slope) / FORCE_CANDIDATES[name])))
    return Fit(
        "forces",
        len(steps),
        unit,
        int(np.sign(slope)),
        True,
        np.nan,
        np.nan,
        abs(slope) / FORCE_CANDIDATES[unit],
        1.0 / np.sqrt(len(steps)),
        steps=steps,
        is_rough=True,
        positions=_positions(steps),
    )


def _force_arrays(steps: Sequence[Step]) -> tuple[np.ndarray, ...]:
    energy, work, curvature = (
        np.array([getattr(step.work, name) for step in steps]) for name in ("energy", "force_work", "force_curvature")
    )
    return energy, work, curvature, _NOISE * np.array([step.num_atoms for step in steps])


def _positions(steps: Sequence[Step]) -> tuple[int, ...]:
    return tuple(sorted({position for step in steps for position in (step.first, step.second)}))


def _huber(values: np.ndarray, bend: float = 2.0) -> float:
    size = np.abs(values)
    return float(np.mean(np.where(size < bend, 0.5 * size**2, bend * size - 0.5 * bend**2)))


@dataclass(frozen=True)
class _Solution:
    loss: float
    loss_without: float
    offset: float
    offset_error: float
    residuals: np.ndarray
    errors: np.ndarray


class _Steps:
    """The steps of a group as arrays."""

    def __init__(self, steps: Sequence[Step]):
        works = [step.work for step in steps]
        self.energy = np.array([work.energy - work.force_work for work in works])
        self.strain = np.array([work.strain for work in works])
        self.first, self.second = (np.array([getattr(work, end) for work in works]) for end in ("first", "second"))
        self.volume = np.array([work.volume_change for work in works])
        sizes = np.array([step.num_atoms for step in steps])
        self.sizes = sizes
        self.exact = self.noise = _NOISE * sizes + 0.1 * np.array([work.force_curvature for work in works])

    def add_noise(self, residuals: np.ndarray) -> float:
        """Take what is left of most steps for noise (eV/atom) from now on."""
        noise = 1.4826 * float(np.median(np.abs(residuals) / self.sizes))
        self.noise = self.exact + noise * self.sizes
        return noise

    def works(self, first, second, order) -> tuple[np.ndarray, np.ndarray]:
        """Work at both ends."""
        return tuple(
            np.einsum("pij,pij->p", _ordered(stress * factor, order), self.strain)
            for stress, factor in ((self.first, first), (self.second, second))
        )

    def solve(self, first, second, order) -> _Solution:
        """Energies from work and a constant stress."""
        one, two = self.works(first, second, order)
        work = 0.5 * (one + two)
        errors = self.noise + _PART * np.abs(work) + _STRESS_CURVATURE * np.abs(one - two)
        left = self.energy - work
        without = _huber(left / errors)
        offset, offset_error = 0.0, np.inf
        if np.abs(self.volume).max() > 1e-3 * np.abs(self.volume).max(initial=1e-9) and self.volume.any():
            offset, offset_error = _robust_slope(self.volume, left, errors)
        residuals = left - offset * self.volume
        loss = _huber(residuals / errors)
        if loss > without:
            offset, loss, residuals = 0.0, without, left
        return _Solution(loss, without, offset, offset_error, residuals, errors)

    def consensus(self, first, second, order) -> tuple[np.ndarray, np.ndarray]:
        """What the stress leaves of the energies (eV), with the constant stress that most steps agree on."""
        one, two = self.works(first, second, order)
        errors = self.exact + _PART * np.abs(0.5 * (one + two)) + _STRESS_CURVATURE * np.abs(one - two)
        left = self.energy - 0.5 * (one + two)
        large = np.abs(self.volume) > 0.1 * np.abs(self.volume).max(initial=0.0)
        offsets = np.append(left[large] / self.volume[large], 0.0) if large.any() else np.zeros(1)
        losses = [float(np.sum(np.minimum(((left - offset * self.volume) / errors) ** 2, 9.0))) for offset in offsets]
        return left - offsets[int(np.argmin(losses))] * self.volume, errors

    def slope(self, factors, sign: int, order) -> tuple[float, float]:
        """Energy over work, with its error, beside a constant stress."""
        one, two = self.works(sign * factors[0], sign * factors[1], order)
        work = 0.5 * (one + two)
        errors = self.noise + _PART * np.abs(work) + _STRESS_CURVATURE * np.abs(one - two)
        columns = np.stack([work, self.volume], axis=1) / errors[:, None]
        solution = np.linalg.lstsq(columns, self.energy / errors, rcond=1e-10)[0]
        return float(solution[0]), float(np.sqrt(np.linalg.pinv(columns.T @ columns)[0, 0]))


def _robust_slope(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    weights = 1.0 / errors
    slope = 0.0
    for _ in range(15):
        norm = float(np.sum((x * weights) ** 2))
        if norm == 0.0:
            return 0.0, np.inf
        slope = float(np.sum(x * y * weights**2) / norm)
        weights = np.sqrt(1.0 / np.maximum(1.0, np.abs(y - slope * x) / errors / 2.0)) / errors
    scatter = max(1.0, float(np.sqrt(np.mean(((y - slope * x) * weights) ** 2))))
    return slope, scatter * norm**-0.5


def _ordered(stress: np.ndarray, order) -> np.ndarray:
    """Stress matrices (..., 3, 3) whose yz, xz, xy are taken from the components with these numbers."""
    if tuple(order) == IDENTITY:
        return stress
    result = stress.copy()
    rows, columns = (1, 0, 0), (2, 2, 1)
    for place, source in enumerate(order):
        result[..., rows[place], columns[place]] = stress[..., rows[source], columns[source]]
        result[..., columns[place], rows[place]] = stress[..., rows[source], columns[source]]
    return result


def reorder_shear(stress: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """A stress (3, 3) with yz, xz, xy taken from the components with these numbers (yz 0, xz 1, xy 2)."""
    return _ordered(np.asarray(stress, dtype=float), tuple(order))
