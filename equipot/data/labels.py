"""Turning a raw frame's values into energy, forces and stress in eV and Angstrom, or saying why they are not labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from equipot.config.schema import UnitsConfig
from equipot.data.frames import RawFrame
from equipot.data.label_keys import LabelKey
from equipot.units import ENERGY_UNITS, FORCE_UNITS, STRESS_UNITS, voigt_to_matrix

#: Largest asymmetry of a stress tensor, relative to its largest component ...
STRESS_ASYMMETRY = 1e-6
#: ... and what eight printed decimals leave of it (eV/Angstrom^3).
STRESS_ROUNDING = 1e-7

_WEIGHT_KEYS = {
    "energy": ("config_energy_weight", "energy_weight"),
    "forces": ("config_forces_weight", "config_force_weight", "forces_weight", "force_weight"),
    "stress": (
        "config_stress_weight",
        "stress_weight",
        "config_virials_weight",
        "config_virial_weight",
        "virials_weight",
        "virial_weight",
    ),
}
#: Keys that are read as weights or names and not as labels.
FRAME_KEYS = frozenset({"config_type", "config_weight", *(key for keys in _WEIGHT_KEYS.values() for key in keys)})
#: At the end of a unit: the energies in the file are those of one atom.
PER_ATOM = "/atom"
#: Numbers beyond this are typing errors in any unit (and their squares would overflow).
_ABSURD = 1e15


class BadLabel(ValueError):
    """A value that cannot be a label, in words."""


def is_periodic_3d(frame: RawFrame) -> bool:
    """Whether the frame has a volume a stress can refer to."""
    return bool(frame.atoms.pbc.all()) and abs(np.linalg.det(frame.atoms.cell.array)) > 1e-9


def read_energy(frame: RawFrame, label: LabelKey | None, units: UnitsConfig) -> float:
    """The total energy (eV), or NaN where the frame has none.

    Raises:
        BadLabel: Not one finite number.
    """
    value = None if label is None else frame.info.get(label.key)
    if value is None:
        return float("nan")
    array = _numbers(value, label.key)
    if array.size != 1:
        raise BadLabel(f"the energy '{label.key}' must be one number, found {array.size}")
    unit = units.energy.removesuffix(PER_ATOM)
    return float(array.reshape(-1)[0]) * ENERGY_UNITS[unit] * (1 if unit == units.energy else len(frame.atoms))


def read_forces(frame: RawFrame, label: LabelKey | None, units: UnitsConfig) -> np.ndarray | None:
    """The forces (N, 3) in eV/Angstrom, or None where the frame has none.

    Raises:
        BadLabel: Not three finite numbers an atom.
    """
    value = None if label is None else frame.arrays.get(label.key)
    if value is None:
        return None
    array = np.asarray(value)
    expected = (len(frame.atoms), 3)
    if array.shape != expected:
        raise BadLabel(f"the forces '{label.key}' must be {expected[0]} x 3 numbers, found shape {array.shape}")
    return _numbers(value, label.key) * FORCE_UNITS[units.forces]


def read_stress(frame: RawFrame, label: LabelKey | None, units: UnitsConfig) -> np.ndarray | None:
    """The stress (3, 3) in eV/Angstrom^3, tension positive, or None where the frame has none or has no volume.

    A stress may be six numbers (xx, yy, zz, yz, xz, xy), nine, or 3 x 3. A virial is in the unit of the energies and is
    the negative of stress times volume, as in DeePMD and QUIP files.

    Raises:
        BadLabel: Not finite, of another shape, or not symmetric.
    """
    value = None if label is None else frame.info.get(label.key)
    if value is None or not is_periodic_3d(frame):
        return None
    matrix = _symmetric(_numbers(value, label.key), label)
    if label.quantity == "virial":
        return -matrix * ENERGY_UNITS[units.energy.removesuffix(PER_ATOM)] / abs(np.linalg.det(frame.atoms.cell.array))
    sign = -1.0 if units.stress_sign == "compression_positive" else 1.0
    return sign * matrix * STRESS_UNITS[units.stress]


def _numbers(value: Any, key: str) -> np.ndarray:
    if isinstance(value, str | bool):
        raise BadLabel(f"'{key}' must be a number, found '{str(value)[:40]}'")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise TypeError
        array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise BadLabel(f"'{key}' must hold numbers, found {str(value)[:60]!r}") from error
    sound = np.abs(array) <= _ABSURD  # False for NaN too
    if not sound.all():
        place = f" (row {int(np.flatnonzero(~sound.all(axis=1))[0])})" if array.ndim == 2 else ""
        worst = array[~sound].flat[0]
        raise BadLabel(
            f"'{key}' is absurdly large{place}: {worst:g}" if np.isfinite(worst) else f"'{key}' is not finite{place}"
        )
    return array


def _symmetric(array: np.ndarray, label: LabelKey) -> np.ndarray:
    if array.size == 6:
        return voigt_to_matrix(array.reshape(6))
    if array.size != 9:
        raise BadLabel(f"the {label.quantity} '{label.key}' must be 6, 9 or 3 x 3 numbers, found shape {array.shape}")
    matrix = array.reshape(3, 3)
    largest = np.abs(matrix).max()
    asymmetry = np.abs(matrix - matrix.T).max()
    if asymmetry > max(STRESS_ASYMMETRY * largest, STRESS_ROUNDING):
        raise BadLabel(f"the {label.quantity} '{label.key}' is not symmetric (by {asymmetry:.3g} in {largest:.3g})")
    return 0.5 * (matrix + matrix.T)


def read_weights(frame: RawFrame) -> dict[str, float]:
    """The frame's factors on the loss terms: ``config_weight`` times ``config_energy_weight`` and so on.

    Raises:
        BadLabel: A weight is not a finite number of zero or more.
    """
    overall = _weight(frame, "config_weight")
    weights = {}
    for label, keys in _WEIGHT_KEYS.items():
        given = [key for key in keys if frame.info.get(key) is not None]
        values = {_weight(frame, key) for key in given}
        if len(values) > 1:
            raise BadLabel(f"the weights {' and '.join(given)} say different things")
        weights[label] = overall * (values.pop() if values else 1.0)
    return weights


def _weight(frame: RawFrame, key: str) -> float:
    value = frame.info.get(key)
    if value is None:
        return 1.0
    array = _numbers(value, key)
    if array.size != 1 or float(array.reshape(-1)[0]) < 0.0:
        raise BadLabel(f"the weight '{key}' must be one number of zero or more, found {value!r:.40}")
    return float(array.reshape(-1)[0])


def read_config_type(frame: RawFrame) -> str:
    """The frame's group name, ``default`` where it has none."""
    value = frame.info.get("config_type")
    return "default" if value is None or value == "" else str(value)
