"""The universal Ziegler-Biersack-Littmark repulsion that keeps atoms apart where no data reaches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from equipot.nn.radial import PolynomialEnvelope

#: e^2 / (4 pi eps0) in eV Angstrom.
COULOMB = 14.3996454784255
#: Bohr radius in Angstrom times 0.8854 (the ZBL screening length for Z^0.23 + Z^0.23 = 1).
SCREENING = 0.8854 * 0.529177210903
_PHI = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


class ZBLRepulsion(nn.Module):
    """Screened nuclear repulsion, switched off smoothly at the sum of the covalent radii.

    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985), with the LAMMPS ``pair_style zbl``
    constants; the switch is the polynomial envelope (as in MACE's ZBL basis) and acts within min(R_i + R_j, cutoff).

    Args:
        atomic_numbers: of each species.
        covalent_radii: of each species, Angstrom.
        cutoff: Angstrom.
    """

    def __init__(self, atomic_numbers: Sequence[int], covalent_radii: Sequence[float], cutoff: float) -> None:
        super().__init__()
        charge = torch.tensor(list(atomic_numbers), dtype=torch.float64)
        radius = torch.tensor(list(covalent_radii), dtype=torch.float64)
        self.register_buffer("charge", charge, persistent=False)
        self.register_buffer("radius", radius, persistent=False)
        self.cutoff = cutoff
        self.envelope = PolynomialEnvelope(6)

    def forward(
        self, distance: torch.Tensor, species_center: torch.Tensor, species_neighbor: torch.Tensor
    ) -> torch.Tensor:
        """(E,) float64 Angstrom, (E,) species twice -> (E,) eV: half a pair's energy, as each pair has two edges."""
        reach = (self.radius[species_center] + self.radius[species_neighbor]).clamp(max=self.cutoff)
        # Most edges are longer than any two atoms repel each other; nothing is computed for them.
        near = (distance.detach() < reach).nonzero().squeeze(1)
        inside = self._energy(distance[near], species_center[near], species_neighbor[near], reach[near])
        return torch.zeros_like(distance).index_copy(0, near, inside)

    def _energy(
        self, distance: torch.Tensor, species_center: torch.Tensor, species_neighbor: torch.Tensor, reach: torch.Tensor
    ) -> torch.Tensor:
        charge_i, charge_j = self.charge[species_center], self.charge[species_neighbor]
        scaled = distance * (charge_i**0.23 + charge_j**0.23) / SCREENING
        screening = sum(weight * torch.exp(-decay * scaled) for weight, decay in _PHI)
        return 0.5 * COULOMB * charge_i * charge_j / distance * screening * self.envelope(distance / reach)
