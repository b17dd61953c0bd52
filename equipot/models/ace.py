"""ACE: the linear atomic cluster expansion, one convolution whose products are the energy.

Drautz, Physical Review B 99, 014104 (2019). The atomic density ``A_clm = sum_j R_cl(r_ij, z_j) Y_lm(r_ij)`` is
coupled to invariant products of up to ``correlation`` factors (body order one more); their weights, one set per
species, are the model's coefficients. Radial functions are learned, and channels are mixed before the products, which
makes the tensor-reduced expansion of Darby et al., Physical Review Letters 131, 028001 (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from equipot.config import FieldError, Limit, Section
from equipot.models.registry import register
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Recorder
from equipot.nn import (
    EdgeEmbedding,
    IrrepsLinear,
    Message,
    MultiLayerPerceptron,
    RadialEmbedding,
    SymmetricProduct,
    highest_order,
    natural_layout,
)
from equipot.nn.linear import normal_matrix


@dataclass(frozen=True)
class ACEOptions(Section):
    """Options of the ``ace`` architecture."""

    #: Channels of the density: radial functions times embeddings of the elements.
    num_channels: Annotated[int, Limit(at_least=1, at_most=4096)] = 16
    #: Highest order of the spherical harmonics.
    l_max: Annotated[int, Limit(at_least=0, at_most=4)] = 3
    #: Number of density features in the longest product; the body order is one more.
    correlation: Annotated[int, Limit(at_least=1, at_most=4)] = 3
    num_bessel: Annotated[int, Limit(at_least=1, at_most=128)] = 16
    #: Power p of the polynomial cutoff.
    envelope_power: Annotated[int, Limit(at_least=3, at_most=32)] = 5
    #: Hidden sizes of the radial networks; none: radial functions are linear combinations of Bessel functions.
    radial_hidden: tuple[Annotated[int, Limit(at_least=1, at_most=4096)], ...] = ()
    #: ``mlp``: the radial networks run on every edge. ``spline``: they run on a grid of distances, and cubic splines
    #: through these values are the radial functions.
    radial: Literal["mlp", "spline"] = "spline"
    #: Intervals of the splines from 0 to the cutoff; without effect with ``radial: mlp``.
    radial_knots: Annotated[int, Limit(at_least=16, at_most=8192)] = 128

    def check(self) -> None:
        if self.l_max > highest_order(self.correlation):
            raise FieldError("correlation", f"can be 4 only with l_max at most 2; l_max is {self.l_max}")

    @property
    def num_intervals(self) -> int | None:
        """Intervals of the radial splines; None without."""
        return self.radial_knots if self.radial == "spline" else None


PRESETS = {
    "small": {"num_channels": 16, "l_max": 3, "correlation": 3},
    "medium": {"num_channels": 32, "l_max": 3, "correlation": 3},
    "large": {"num_channels": 64, "l_max": 2, "correlation": 4},
}


class ACE(WiredArchitecture):
    """The architecture; see :class:`equipot.models.Architecture` for the call."""

    def __init__(self, options: ACEOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.options, self.num_species = options, num_species
        self.radial = RadialEmbedding(cutoff, options.num_bessel, options.envelope_power)
        self.edges = EdgeEmbedding(options.l_max, cutoff, options.num_intervals)
        self.embedding = normal_matrix(num_species, options.num_channels, fan_in=1)
        density = natural_layout(options.num_channels, options.l_max)
        scalars = natural_layout(options.num_channels, 0)
        self.message = Message(
            scalars,
            options.l_max,
            {block.irrep for block in density.blocks},
            options.radial_hidden,
            options.num_bessel,
            max(avg_num_neighbors, 1.0) ** 0.5,
            spline=options.radial == "spline",
            linear_up=False,
        )
        self.linear = IrrepsLinear(self.message.layout_out, density)
        self.product = SymmetricProduct(density, scalars, options.correlation, num_species)
        self.readout = MultiLayerPerceptron([options.num_channels, 1])

    def wire(self, steps: Recorder) -> None:
        density = steps.mix(self.linear, steps.convolve(self.message, steps.species(self, "embedding")))
        steps.readout(self.readout, steps.product(self.product, density))


register(
    "ace",
    ACEOptions,
    ACE,
    presets=PRESETS,
    citation="R. Drautz, Physical Review B 99, 014104 (2019), doi 10.1103/PhysRevB.99.014104",
)
