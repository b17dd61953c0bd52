"""Build the perfect crystal that a property is computed on from its entry in the configuration."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.formula import Formula

from equipot.config.schema import PropertyConfig
from equipot.errors import ConfigError

#: Lattices whose conventional cell is a cube: one lattice constant, three elastic constants.
CUBIC_LATTICES = ("sc", "fcc", "bcc", "diamond", "rocksalt", "cesiumchloride", "zincblende", "l12")

_BINARY_LATTICES = ("rocksalt", "cesiumchloride", "zincblende")


def build_crystal(config: PropertyConfig) -> Atoms:
    """Build the crystal of ``config`` at its guessed lattice constant, cube axes along x, y, z.

    Cubic lattices come in their conventional cell, so that C11, C12 and C44 are read off its axes; ``hcp`` comes in
    its two-atom cell with the c axis along z and the ideal c/a. ``l12`` is A3B: the element that occurs three times
    is on the faces of the cube and the other one on its corners (Cu3Au).

    Args:
        config: lattice, formula (default: the name) and lattice constant (Angstrom), checked when it was made.

    Returns:
        A periodic structure without calculator.

    Raises:
        ConfigError: a formula that does not fit the lattice.
    """
    where = f"properties entry {config.name!r}"
    formula = config.formula or config.name
    counts = Formula(formula).count()
    if config.lattice == "l12":
        return _build_l12(counts, config.lattice_constant, formula, where)
    expected = (1, 1) if config.lattice in _BINARY_LATTICES else (1,)
    if tuple(counts.values()) != expected:
        kind = "two elements, one of each (as NaCl)" if len(expected) == 2 else "one element (as Cu)"
        raise ConfigError(f"{where}: lattice {config.lattice!r} needs a formula of {kind}, not {formula!r}.")
    if config.lattice == "hcp":
        return bulk(formula, "hcp", a=config.lattice_constant, covera=np.sqrt(8.0 / 3.0))
    return bulk(formula, config.lattice, a=config.lattice_constant, cubic=True)


def is_cubic(config: PropertyConfig) -> bool:
    """Say whether the crystal of ``config`` has cubic symmetry."""
    return config.lattice in CUBIC_LATTICES


def _build_l12(counts: dict[str, int], lattice_constant: float, formula: str, where: str) -> Atoms:
    if sorted(counts.values()) != [1, 3]:
        raise ConfigError(f"{where}: lattice 'l12' needs a formula of the form A3B (as Cu3Au), not {formula!r}.")
    corner, face = sorted(counts, key=counts.__getitem__)
    sites = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    return Atoms([corner, face, face, face], scaled_positions=sites, cell=np.eye(3) * lattice_constant, pbc=True)
