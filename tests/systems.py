"""Structures every registered architecture is tested on, and potentials with random weights to test with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from equipot.models import Potential, PotentialConfig, build_potential, resolve_options

ELEMENTS = ("H", "C", "O", "Cu", "Au")
CUTOFF = 4.0

#: Small but with everything switched on: channels differ, several layers, odd numbers.
ARCHITECTURES = {
    "nequip": (
        "nequip",
        {"num_layers": 3, "num_channels": (9, 6, 5), "feature_l_max": 2, "radial_hidden": (8,), "radial": "mlp"},
    ),
    "nequip both parities": (
        "nequip",
        {
            "num_layers": 2,
            "num_channels": 5,
            "parity": "both",
            "trainable_bessel": True,
            "radial_hidden": (8,),
            "radial": "mlp",
        },
    ),
    # Three layers: with two, only couplings of even l1 + l2 + l3 reach the scalars.
    "nequip rotations only": (
        "nequip",
        {"num_layers": 3, "num_channels": 6, "parity": "none", "radial_hidden": (8,), "radial": "mlp"},
    ),
    "mace": ("mace", {"num_channels": 6, "radial_hidden": (8,), "radial": "mlp"}),
    "mace density residual": (
        "mace",
        {
            "num_channels": 5,
            "l_max": 3,
            "feature_l_max": 2,
            "correlation": 2,
            "residual_first": True,
            "density_normalization": True,
            "num_layers": 3,
            "radial_hidden": (8,),
            "radial": "mlp",
        },
    ),
    "nequip spline": (
        "nequip",
        {
            "num_layers": 2,
            "num_channels": (9, 6, 5),
            "feature_l_max": 2,
            "trainable_bessel": True,
            "radial": "spline",
            "radial_hidden": (8,),
        },
    ),
    "mace spline": (
        "mace",
        {
            "num_channels": 5,
            "density_normalization": True,
            "radial": "spline",
            "radial_knots": 200,
            "radial_hidden": (8,),
        },
    ),
    "ace": ("ace", {"num_channels": 5, "l_max": 2, "correlation": 4}),
    "behler_parrinello": (
        "behler_parrinello",
        {"radial_order": 5, "angular_order": 3, "angular_cutoff": 3.5, "hidden": (7, 5)},
    ),
    "painn": ("painn", {"num_channels": 5, "num_layers": 2}),
}


def make_potential(name: str, dtype: str = "float64", *, scale: float = 3.0, seed: int = 0, **changes) -> Potential:
    """A potential with random, non-zero weights everywhere and energies of a few eV."""
    architecture, options = ARCHITECTURES[name]
    settings = {"zbl": True, "cutoff": CUTOFF, **changes}
    config = PotentialConfig(
        architecture=architecture,
        elements=ELEMENTS,
        avg_num_neighbors=12.0,
        dtype=dtype,
        options=resolve_options(architecture, "small", options),
        **settings,
    )
    energies = {element: -10.0 * (k + 1) for k, element in enumerate(ELEMENTS)}
    shift = {element: -0.5 - k for k, element in enumerate(ELEMENTS)}
    return build_potential(config, atomic_energies=energies, scale=scale, shift=shift, seed=seed)


def _rattled(atoms: Atoms, amplitude: float = 0.12, seed: int = 1) -> Atoms:
    atoms.positions += np.random.default_rng(seed).normal(scale=amplitude, size=atoms.positions.shape)
    return atoms


def _alloy() -> Atoms:
    atoms = bulk("Cu", cubic=True, a=3.8) * (2, 1, 1)
    atoms.symbols[::3] = "Au"
    return _rattled(atoms)


def _slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 2), a=3.7, vacuum=None, periodic=False)
    atoms.pbc = (True, True, False)
    return _rattled(atoms)


def _skewed() -> Atoms:
    atoms = _alloy()
    atoms.set_cell(np.array([[1, 0, 0], [2, 1, 0], [0, -1, 1]]) @ atoms.cell.array)
    return atoms


def _tiny() -> Atoms:
    atoms = Atoms("CuAu", [[0, 0, 0], [1.5, 1.3, 1.4]], cell=[[2.9, 0.1, 0], [0, 2.8, 0.2], [0.3, 0, 3.0]], pbc=True)
    return atoms


def _ethanol() -> Atoms:
    return _rattled(molecule("CH3CH2OH"), 0.05)


STRUCTURES: dict[str, Callable[[], Atoms]] = {
    "molecule": _ethanol,
    "alloy": _alloy,
    "slab": _slab,
    "skewed cell": _skewed,
    "cell below the cutoff": _tiny,
}


def force_scale(forces: torch.Tensor) -> float:
    """max(rms, 0.1 eV/Angstrom), what force errors are measured in."""
    return max(float(forces.square().mean().sqrt()), 0.1)
