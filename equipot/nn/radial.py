"""Functions of the distance: Bessel basis, smooth cutoff, and their product that feeds the radial networks."""

from __future__ import annotations

import math

import torch
from torch import nn


class PolynomialEnvelope(nn.Module):
    """f(x) = 1 - O(x^p) that falls to 0 at x = r / cutoff = 1 with two zero derivatives.

    Gasteiger et al., ICLR 2020 (DimeNet), eq. 8, in the factored form
    ``(1-x)^3 * sum_{k<p} (k+1)(k+2)/2 x^k``: the usual form cancels to rounding noise near the cutoff, this one is
    exactly zero there in any precision.
    """

    def __init__(self, power: int) -> None:
        super().__init__()
        self.coefficients = [(k + 1) * (k + 2) / 2 for k in range(power)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape; x >= 1 gives 0."""
        x = x.clamp(max=1.0)
        series = torch.full_like(x, self.coefficients[-1])
        for coefficient in reversed(self.coefficients[:-1]):
            series = series * x + coefficient
        return (1 - x) ** 3 * series


class BesselBasis(nn.Module):
    """B_n(r) = sqrt(2/cutoff) sin(n pi r / cutoff) / r, n = 1..num_bessel (Gasteiger et al., ICLR 2020, eq. 7).

    With ``trainable`` the wave numbers n pi are parameters, as in NequIP.
    """

    def __init__(self, cutoff: float, num_bessel: int, *, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff = cutoff
        numbers = torch.arange(1, num_bessel + 1, dtype=torch.float64) * math.pi
        self.wave_numbers = nn.Parameter(numbers.to(torch.get_default_dtype()), requires_grad=trainable)

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        """(E,) Angstrom -> (E, num_bessel)."""
        x = (distance / self.cutoff).unsqueeze(1)
        return math.sqrt(2 / self.cutoff) / self.cutoff * torch.sin(self.wave_numbers * x) / x


class RadialEmbedding(nn.Module):
    """Bessel basis times envelope: the input of every radial network."""

    def __init__(self, cutoff: float, num_bessel: int, envelope_power: int, *, trainable: bool = False) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.basis = BesselBasis(cutoff, num_bessel, trainable=trainable)
        self.envelope = PolynomialEnvelope(envelope_power)

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        """(E,) Angstrom -> (E, num_bessel)."""
        return self.basis(distance) * self.envelope(distance / self.cutoff).unsqueeze(1)
