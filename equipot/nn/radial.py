"""What layers need of the edges: Bessel basis times cutoff that feeds the radial networks, harmonics, spline basis."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from equipot.kernels import EdgeGeometry, EdgeIndex, is_eager, polynomial_envelope
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


class XPLOREnvelope(nn.Module):
    """1 up to ``onset``, then XPLOR's smooth step to 0 at the cutoff, with zero slope at either end.

    Brooks et al., J. Comput. Chem. 4, 187 (1983); the envelope of SevenNet-0. Its second derivative jumps at both ends.

    Args:
        cutoff: Angstrom.
        onset: Angstrom.
    """

    def __init__(self, cutoff: float, onset: float) -> None:
        super().__init__()
        self.cutoff, self.onset = cutoff, onset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """r / cutoff of any shape; x >= 1 gives 0."""
        square, onset = x * x, (self.onset / self.cutoff) ** 2
        step = (1 - square) ** 2 * (1 + 2 * square - 3 * onset) / (1 - onset) ** 3
        return torch.where(square < onset, torch.ones_like(x), step).masked_fill(x >= 1, 0.0)


class AgnesiTransform(nn.Module):
    """T(r) = 1 / (1 + a s^q / (1 + s^(q-p))), s = r over the mean radius of the pair: resolution where bonds are.

    Witt et al., J. Chem. Phys. 159, 164101 (2023), as MACE's foundation models use it on the argument of their Bessel
    functions.

    Args:
        constants: a, q and p.
        radii: of each species, Angstrom.
    """

    def __init__(self, constants: Sequence[float], radii: Sequence[float]) -> None:
        super().__init__()
        self.a, self.q, self.p = constants
        self.register_buffer("radii", torch.tensor(list(radii), dtype=torch.float64), persistent=False)

    def forward(self, distance: torch.Tensor, species: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """(E,) Angstrom and the species of both ends, (E,) -> (E,) from 1 at contact to 0 far away."""
        s = distance / (0.5 * (self.radii[species] + self.radii[other])).to(distance.dtype)
        return 1 / (1 + self.a * s**self.q / (1 + s ** (self.q - self.p)))


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
    """Bessel basis times envelope: the input of every radial network.

    Args:
        cutoff: Angstrom.
        num_bessel: size of the basis.
        envelope_power: of the polynomial envelope.
        trainable: whether the wave numbers are parameters.
        onset: Angstrom, where the XPLOR envelope begins; None: the polynomial envelope.
        transform: of the distance, for the basis but not for the envelope.
        envelope_on_weights: the envelope multiplies what the networks make of the basis, not the basis.
    """

    def __init__(
        self,
        cutoff: float,
        num_bessel: int,
        envelope_power: int,
        *,
        trainable: bool = False,
        onset: float | None = None,
        transform: AgnesiTransform | None = None,
        envelope_on_weights: bool = False,
    ) -> None:
        super().__init__()
        self.cutoff, self.onset, self.envelope_on_weights = cutoff, onset, envelope_on_weights
        self.basis = BesselBasis(cutoff, num_bessel, trainable=trainable)
        self.envelope = PolynomialEnvelope(envelope_power) if onset is None else XPLOREnvelope(cutoff, onset)
        self.transform = transform

    def forward(
        self, distance: torch.Tensor, species: torch.Tensor | None = None, other: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Evaluate distances.

        Args:
            distance: (E,) Angstrom.
            species, other: (E,) of both ends, for a transform.

        Returns:
            (E, num_bessel), and with ``envelope_on_weights`` the envelope (E, 1), else None.
        """
        argument = distance if self.transform is None else self.transform(distance, species, other)
        envelope = self.envelope(distance / self.cutoff).unsqueeze(1)
        if self.envelope_on_weights:
            return self.basis(argument), envelope
        return self.basis(argument) * envelope, None

    @property
    def trained(self) -> torch.Tensor | None:
        """What the functions depend on besides the distance, and may train."""
        return self.basis.wave_numbers


class ChebyshevEmbedding(nn.Module):
    """Fixed radial functions of the descriptors of Artrith, Urban and Ceder, Phys. Rev. B 96, 014112 (2017).

    Columns: Chebyshev polynomials T_0..T_order of 2 r / cutoff - 1, each times the cutoff function; the cutoff function
    of the angular sums; its square. The cutoff function is the polynomial envelope with p = 2, close to the cosine of
    the paper and twice continuously differentiable.

    Args:
        cutoff: Angstrom.
        order: highest polynomial.
        angular_cutoff: Angstrom, at most ``cutoff``.
    """

    onset = transform = None
    envelope_on_weights = False

    def __init__(self, cutoff: float, order: int, angular_cutoff: float) -> None:
        super().__init__()
        self.cutoff, self.order, self.angular_cutoff = cutoff, order, angular_cutoff
        self.envelope = PolynomialEnvelope(2)

    def forward(
        self, distance: torch.Tensor, species: torch.Tensor | None = None, other: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        """(E,) Angstrom -> (E, order + 3), None."""
        x = (2 * distance / self.cutoff - 1).clamp(-1, 1)
        polynomials = torch.cos(torch.arange(self.order + 1, device=x.device) * torch.acos(x).unsqueeze(1))
        angular = self.envelope(distance / self.angular_cutoff).unsqueeze(1)
        return torch.cat(
            [polynomials * self.envelope(distance / self.cutoff).unsqueeze(1), angular, angular**2], 1
        ), None

    @property
    def trained(self) -> torch.Tensor | None:
        """What the functions depend on besides the distance: nothing."""
        return None


AnyRadialEmbedding = RadialEmbedding | ChebyshevEmbedding


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
    #: What multiplies the outputs of the radial networks, (E, 1) or (num_intervals+1, 1); None: nothing does.
    envelope: torch.Tensor | None = None


class EdgeEmbedding(nn.Module):
    """Edge vectors -> :class:`EdgeFeatures`.

    Args:
        l_max: highest order of the harmonics.
        cutoff: Angstrom.
        num_intervals: radial networks are evaluated at the knots of splines with this many intervals; None: on every
            edge.
        solid: harmonics of order l are times r^l, r in Angstrom.
    """

    def __init__(self, l_max: int, cutoff: float, num_intervals: int | None, *, solid: bool = False) -> None:
        super().__init__()
        self.geometry = EdgeGeometry(l_max, cutoff, num_intervals)
        orders = [l for l in range(l_max + 1) for _ in range(2 * l + 1)]
        self.solid = solid
        self.register_buffer("_orders", torch.tensor(orders), persistent=False)
        self._kept: tuple[tuple, tuple[torch.Tensor, torch.Tensor | None]] | None = None

    def forward(
        self,
        radial: AnyRadialEmbedding,
        vector: torch.Tensor,
        length: torch.Tensor | None,
        index: EdgeIndex,
        species: torch.Tensor | None = None,
    ) -> EdgeFeatures:
        """Evaluate edges.

        Args:
            radial: of the architecture.
            vector: (E, 3) Angstrom.
            length: (E,) Angstrom; splines do without.
            index: where the edges lead.
            species: (N,), for radial embeddings that transform distances.
        """
        harmonics, basis, knot = self.geometry(vector)
        if self.solid:
            distance = vector.norm(dim=1) if length is None else length
            powers = torch.stack([distance**l for l in range(self.geometry.l_max + 1)], dim=1)
            harmonics = harmonics * powers.index_select(1, self._orders)
        if basis is None:
            pair = () if radial.transform is None else (species[index.center], species[index.neighbor])
            embedded, envelope = radial(length, *pair)
            return EdgeFeatures(index, harmonics, embedded, None, None, envelope)
        embedded, envelope = self.at_knots(radial, vector)
        return EdgeFeatures(index, harmonics, embedded, basis, knot, envelope)

    def at_knots(self, radial: AnyRadialEmbedding, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The embedding of the knots, in the dtype and on the device of ``vector``; kept while it is a constant."""
        numbers = radial.trained
        is_kept = is_eager(vector) and (numbers is None or not (numbers.requires_grad or numbers.is_inference()))
        state = () if numbers is None or not is_kept else (numbers.data_ptr(), numbers._version)
        key = (*state, vector.dtype, vector.device) if is_kept else None
        if is_kept and self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        # Tensors made in inference mode could not be used in training later.
        with torch.inference_mode(False) if is_kept else contextlib.nullcontext():
            at = knots(radial.cutoff, self.geometry.num_intervals, dtype=vector.dtype, device=vector.device)
            embedded = radial(at)
        self._kept = (key, embedded) if is_kept else None
        return embedded
