"""What layers need of the edges: Bessel basis times cutoff that feeds the radial networks, harmonics, spline basis."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from equipot.kernels import EdgeGeometry, EdgeIndex, polynomial_envelope
from equipot.kernels.spline import knots


class PolynomialEnvelope(nn.Module):
    """f(x) = 1 - O(x^p) that falls to 0 at x = r / cutoff = 1 with two zero derivatives.

    Gasteiger et al., ICLR 2020 (DimeNet), eq. 8, without its cancellation near the cutoff: exactly zero there in any
    precision.
    """

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape; x >= 1 gives 0."""
        return polynomial_envelope(x, self.power)


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


class EdgeFeatures(NamedTuple):
    """What every layer needs of the edges, computed once for all of them."""

    index: EdgeIndex
    #: (E, (l_max+1)^2), component normalised.
    harmonics: torch.Tensor
    #: Input of the radial networks: (E, num_bessel) for each edge, or (num_intervals+1, num_bessel) at the knots.
    radial: torch.Tensor
    #: (E, 4) spline basis and (E,) first row of the control points it multiplies; None without splines.
    basis: torch.Tensor | None
    knot: torch.Tensor | None


class EdgeEmbedding(nn.Module):
    """Edge vectors -> :class:`EdgeFeatures`.

    Args:
        l_max: highest order of the harmonics.
        cutoff: Angstrom.
        num_intervals: radial networks are evaluated at the knots of splines with this many intervals; None: on every
            edge.
    """

    def __init__(self, l_max: int, cutoff: float, num_intervals: int | None) -> None:
        super().__init__()
        self.geometry = EdgeGeometry(l_max, cutoff, num_intervals)

    def forward(
        self, radial: RadialEmbedding, vector: torch.Tensor, length: torch.Tensor | None, index: EdgeIndex
    ) -> EdgeFeatures:
        """(E, 3) and (E,) Angstrom, and where the edges lead; splines do without the lengths."""
        harmonics, basis, knot = self.geometry(vector)
        if basis is None:
            return EdgeFeatures(index, harmonics, radial(length), None, None)
        at = knots(radial.cutoff, self.geometry.num_intervals, dtype=vector.dtype, device=vector.device)
        return EdgeFeatures(index, harmonics, radial(at), basis, knot)
