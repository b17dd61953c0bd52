"""The universal Ziegler-Biersack-Littmark repulsion that keeps atoms apart where no data reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from equipot.config import Limit, Section
from equipot.nn.radial import PolynomialEnvelope


@dataclass(frozen=True)
class RepulsionConstants(Section):
    """Constants of a screened nuclear repulsion; those of LAMMPS' ``pair_style zbl`` unless others are given.

    V(r) = strength Z_i Z_j / r sum_k weights_k exp(-decays_k x),
    x = r (Z_i^exponent + Z_j^exponent) / screening_length.
    """

    exponent: Annotated[float, Limit(above=0, at_most=1)] = 0.23
    #: Angstrom: 0.8854 Bohr radii.
    screening_length: Annotated[float, Limit(above=0, at_most=10)] = 0.8854 * 0.529177210903
    #: eV Angstrom: e^2 / (4 pi eps0).
    strength: Annotated[float, Limit(at_least=-1e6, at_most=1e6)] = 14.3996454784255
    weights: tuple[float, float, float, float] = (0.18175, 0.50986, 0.28022, 0.02817)
    decays: tuple[float, float, float, float] = (3.19980, 0.94229, 0.40290, 0.20162)
    #: Power of the polynomial envelope.
    envelope_power: Annotated[int, Limit(at_least=3, at_most=32)] = 6

    def in_a_row(self) -> list[float]:
        """All of them as the engine takes them."""
        return [
            self.exponent,
            self.screening_length,
            self.strength,
            *self.weights,
            *self.decays,
            float(self.envelope_power),
        ]


class ZBLRepulsion(nn.Module):
    """Screened nuclear repulsion, switched off smoothly at the sum of the covalent radii.

    Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985); the switch is the polynomial envelope
    (as in MACE's ZBL basis) and acts within min(R_i + R_j, cutoff).

    Args:
        atomic_numbers: of each species.
        covalent_radii: of each species, Angstrom.
        cutoff: Angstrom.
        constants: of the interaction.
    """

    def __init__(
        self,
        atomic_numbers: Sequence[int],
        covalent_radii: Sequence[float],
        cutoff: float,
        constants: RepulsionConstants | None = None,
    ) -> None:
        super().__init__()
        self.constants = RepulsionConstants() if constants is None else constants
        charge = torch.tensor(list(atomic_numbers), dtype=torch.float64)
        radius = torch.tensor(list(covalent_radii), dtype=torch.float64)
        self.register_buffer("charge", charge, persistent=False)
        self.register_buffer("radius", radius, persistent=False)
        self.cutoff = cutoff
        self.envelope = PolynomialEnvelope(self.constants.envelope_power)

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
        c, charge_i, charge_j = self.constants, self.charge[species_center], self.charge[species_neighbor]
        scaled = distance * (charge_i**c.exponent + charge_j**c.exponent) / c.screening_length
        screening = sum(weight * torch.exp(-decay * scaled) for weight, decay in zip(c.weights, c.decays))
        return 0.5 * c.strength * charge_i * charge_j / distance * screening * self.envelope(distance / reach)
