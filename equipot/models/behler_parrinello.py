"""Behler-Parrinello: fixed radial and angular descriptors of an atom's surroundings, and a network for each element.

Behler and Parrinello, Physical Review Letters 98, 146401 (2007), with the descriptors of Artrith, Urban and Ceder,
Physical Review B 96, 014112 (2017): expansions of the radial and angular distribution functions in Chebyshev
polynomials, once with all neighbours alike and once weighted by their element, so that their number does not grow with
the elements. The angular sums over pairs of neighbours, polynomials of cos(theta), are written as scalar products of
densities of order l up to the angular order, by the addition theorem: one sum over neighbours instead of one over
pairs, and the same functions up to a linear map. The cutoff function is a polynomial with two continuous derivatives
instead of the original cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import nn

from equipot.config import FieldError, Limit, Section
from equipot.kernels import FeatureLayout
from equipot.models.registry import register
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Recorder
from equipot.nn import (
    ChebyshevEmbedding,
    EdgeEmbedding,
    FixedRadial,
    Gate,
    Invariants,
    Message,
    MultiLayerPerceptron,
    SpeciesLinear,
    natural_layout,
)

Size = Annotated[int, Limit(at_least=1, at_most=4096)]


@dataclass(frozen=True)
class BehlerParrinelloOptions(Section):
    """Options of the ``behler_parrinello`` architecture."""

    #: Order of the radial expansion: Chebyshev polynomials 0..radial_order.
    radial_order: Annotated[int, Limit(at_least=0, at_most=64)] = 16
    #: Order of the angular expansion.
    angular_order: Annotated[int, Limit(at_least=0, at_most=4)] = 4
    #: Angstrom, of the angular descriptors; None: the cutoff.
    angular_cutoff: Annotated[float, Limit(above=0, at_most=50)] | None = None
    #: Hidden sizes of each element's network.
    hidden: tuple[Size, ...] = (32, 32)
    #: Intervals of the splines that the fixed radial functions are tabulated with, from 0 to the cutoff.
    radial_knots: Annotated[int, Limit(at_least=16, at_most=8192)] = 256

    def check(self) -> None:
        if not self.hidden:
            raise FieldError("hidden", "is empty, expected at least one hidden layer")


PRESETS = {
    "small": {"radial_order": 12, "angular_order": 3, "hidden": (16, 16)},
    "medium": {"radial_order": 16, "angular_order": 4, "hidden": (32, 32)},
    "large": {"radial_order": 24, "angular_order": 4, "hidden": (64, 64)},
}


class BehlerParrinello(WiredArchitecture):
    """The architecture; see :class:`equipot.models.Architecture` for the call."""

    def __init__(
        self, options: BehlerParrinelloOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float
    ) -> None:
        super().__init__()
        self.options, self.num_species = options, num_species
        angular_cutoff = min(options.angular_cutoff or cutoff, cutoff)
        self.radial = ChebyshevEmbedding(cutoff, options.radial_order, angular_cutoff)
        self.edges = EdgeEmbedding(options.angular_order, cutoff, options.radial_knots)
        weights = element_weights(num_species)
        count, order = weights.shape[1], options.radial_order
        # Channel k * (order + 2) + n has weight k and radial function n; the last of them is the squared cutoff
        # function of the angular sums, for the pairs of a neighbour with itself that those contain.
        self.register_buffer("element_weights", weights)
        radial_columns = [*range(order + 1), order + 2] * count
        norm = max(avg_num_neighbors, 1.0) ** 0.5
        self.radial_density = _density(radial_columns, order + 3, options.angular_order, 0, norm)
        self.angular_density = _density(
            [order + 1] * count, order + 3, options.angular_order, options.angular_order, norm
        )
        self.invariants = Invariants(self.angular_density.layout_out)
        self.networks = _Networks(
            self.radial_density.layout_out, self.invariants.layout_out, options.hidden, num_species
        )

    @property
    def radial_weights(self) -> torch.Tensor:
        """(num_species, channels of the radial density)."""
        return self.element_weights.repeat_interleave(self.options.radial_order + 2, dim=1)

    def wire(self, steps: Recorder) -> None:
        radial = steps.convolve(self.radial_density, steps.species(self, "radial_weights"))
        angular = steps.convolve(self.angular_density, steps.species(self, "element_weights"))
        networks = self.networks
        first = steps.add(
            steps.mix(networks.radial, radial), steps.mix(networks.angular, steps.invariants(self.invariants, angular))
        )
        x = steps.gate(networks.gates[0], steps.add(first, steps.species(networks, "bias_0")))
        for k, linear in enumerate(networks.linears, start=1):
            x = steps.gate(networks.gates[k], steps.add(steps.mix(linear, x), steps.species(networks, f"bias_{k}")))
        steps.readout(networks.readout, steps.mix(networks.last, x))


class _Networks(nn.Module):
    """A perceptron for each element, from radial and angular descriptors to an energy."""

    def __init__(
        self, radial: FeatureLayout, angular: FeatureLayout, hidden: tuple[int, ...], num_species: int
    ) -> None:
        super().__init__()
        layouts = [natural_layout(size, 0) for size in hidden]
        self.radial = SpeciesLinear(radial, layouts[0], num_species)
        self.angular = SpeciesLinear(angular, layouts[0], num_species)
        self.linears = nn.ModuleList(SpeciesLinear(a, b, num_species) for a, b in pairwise(layouts))
        for k, size in enumerate(hidden):
            self.register_parameter(f"bias_{k}", nn.Parameter(torch.zeros(num_species, size)))
        self.gates = nn.ModuleList(Gate(layout) for layout in layouts)
        self.last = SpeciesLinear(layouts[-1], natural_layout(1, 0), num_species)
        self.readout = MultiLayerPerceptron([1, 1])


def element_weights(num_species: int) -> torch.Tensor:
    """(num_species, 1 or 2): 1 for every element, and where there are several -1, 1, -2, 2, ... besides."""
    ones = torch.ones(num_species, 1)
    if num_species == 1:
        return ones
    numbers = [(k // 2 + 1) * (-1.0) ** (k + 1) for k in range(num_species)]
    return torch.cat([ones, torch.tensor(numbers).unsqueeze(1) / max(map(abs, numbers))], dim=1)


def _density(columns: list[int], num_radial: int, l_max: int, highest: int, norm: float) -> Message:
    """Sums over neighbours of harmonics of order 0 to ``highest`` times the radial function of each channel."""
    channels = len(columns)
    matrix = torch.zeros(num_radial, channels)
    matrix[columns, range(channels)] = 1.0
    return Message(
        natural_layout(channels, 0),
        l_max,
        {block.irrep for block in natural_layout(1, highest).blocks},
        (),
        num_radial,
        norm,
        spline=True,
        linear_up=False,
        radial_network=FixedRadial(matrix.repeat(1, highest + 1)),
    )


register(
    "behler_parrinello",
    BehlerParrinelloOptions,
    BehlerParrinello,
    presets=PRESETS,
    citation="J. Behler and M. Parrinello, Physical Review Letters 98, 146401 (2007), "
    "doi 10.1103/PhysRevLett.98.146401; N. Artrith, A. Urban and G. Ceder, Physical Review B 96, 014112 "
    "(2017), doi 10.1103/PhysRevB.96.014112",
)
