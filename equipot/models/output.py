"""What a potential returns: typed, with shapes and units; what was not asked for is None, never zeros."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass
class ModelOutput:
    """Results for N atoms in B structures, all float64.

    Attributes:
        energy: (B,) eV, total energy including the atomic energies.
        node_energy: (N,) eV, per atom, summing to ``energy``.
        forces: (N, 3) eV/Angstrom, -dE/dr.
        stress: (B, 3, 3) eV/Angstrom^3, (1/V) dE/d(strain), symmetric, tension positive (ASE's sign); NaN where the
            cell has no volume.
        virial: (B, 3, 3) eV, -V * stress; defined without a cell.
        node_virial: (N, 3, 3) eV, each edge's share split evenly between its two atoms, summing to ``virial``.
    """

    energy: torch.Tensor
    node_energy: torch.Tensor
    forces: torch.Tensor | None = None
    stress: torch.Tensor | None = None
    virial: torch.Tensor | None = None
    node_virial: torch.Tensor | None = None
