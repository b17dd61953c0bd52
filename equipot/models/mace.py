"""MACE: a convolution builds each atom's density, symmetric products of it give many-body messages.

Batatia et al., NeurIPS 2022 (arXiv:2206.07697). Correlation order up to 4, residual and non-residual interactions,
optional density normalisation; every layer has a readout. The options cover the scale-shift models of mace-torch
(MACE-MP-0, MACE-MPA-0), whose weights ``equipot convert`` takes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from equipot.config import FieldError, Limit, Section
from equipot.errors import ConfigError
from equipot.kernels import FeatureLayout
from equipot.models.registry import register
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Recorder
from equipot.nn import (
    AgnesiTransform,
    EdgeEmbedding,
    IrrepsLinear,
    Message,
    MultiLayerPerceptron,
    RadialEmbedding,
    SpeciesLinear,
    SymmetricProduct,
    highest_order,
    natural_layout,
)
from equipot.nn.linear import normal_matrix


@dataclass(frozen=True)
class MACEOptions(Section):
    """Options of the ``mace`` architecture."""

    num_layers: Annotated[int, Limit(at_least=1, at_most=20)] = 2
    #: Channels of every feature.
    num_channels: Annotated[int, Limit(at_least=1, at_most=4096)] = 32
    #: Highest order of the spherical harmonics of the edges and of the density.
    l_max: Annotated[int, Limit(at_least=0, at_most=4)] = 2
    #: Highest order of the features atoms carry between layers.
    feature_l_max: Annotated[int, Limit(at_least=0, at_most=4)] = 1
    #: Number of density features in the longest product; the body order of a layer is one more.
    correlation: Annotated[int, Limit(at_least=1, at_most=4)] = 3
    num_bessel: Annotated[int, Limit(at_least=1, at_most=128)] = 8
    #: Power p of the polynomial cutoff.
    envelope_power: Annotated[int, Limit(at_least=3, at_most=32)] = 5
    #: Whether the polynomial cutoff multiplies the Bessel functions or what the radial networks make of them.
    cutoff_on: Literal["basis", "weights"] = "basis"
    #: a, q and p of the Agnesi transform of the distances that enter the Bessel functions (MACE's foundation models).
    agnesi: tuple[float, float, float] | None = None
    #: Angstrom, for each element: the length scale of the transform is a pair's mean.
    agnesi_radii: tuple[Annotated[float, Limit(above=0, at_most=10)], ...] | None = None
    #: Hidden sizes of the radial networks.
    radial_hidden: tuple[Annotated[int, Limit(at_least=1, at_most=4096)], ...] = (64, 64)
    #: ``mlp``: the radial networks run on every edge. ``spline``: they run on a grid of distances, and cubic splines
    #: through these values are the radial functions: much faster, twice differentiable, exactly zero at the cutoff.
    radial: Literal["mlp", "spline"] = "spline"
    #: Intervals of the splines from 0 to the cutoff; without effect with ``radial: mlp``.
    radial_knots: Annotated[int, Limit(at_least=16, at_most=8192)] = 128
    #: Hidden sizes of the last readout; the others are linear.
    readout_hidden: tuple[Annotated[int, Limit(at_least=1, at_most=4096)], ...] = (16,)
    #: Whether the first interaction adds a self-connection (later ones always do); without it the message itself is
    #: mixed by the atom's species.
    residual_first: bool = False
    #: Divide message sums by a learned soft count of neighbours instead of their average number.
    density_normalization: bool = False

    def check(self) -> None:
        if (self.agnesi is None) != (self.agnesi_radii is None):
            raise FieldError("agnesi", "and agnesi_radii, one radius for each element, go together")
        if self.agnesi is not None and self.radial == "spline":
            raise FieldError("agnesi", "needs radial: mlp; radial functions depend on the pair of elements")
        if self.feature_l_max > self.l_max:
            raise FieldError("feature_l_max", f"can be at most l_max = {self.l_max}")
        if self.l_max > highest_order(self.correlation):
            raise FieldError("correlation", f"can be 4 only with l_max at most 2; l_max is {self.l_max}")

    @property
    def num_intervals(self) -> int | None:
        """Intervals of the radial splines; None without."""
        return self.radial_knots if self.radial == "spline" else None


PRESETS = {
    "small": {"num_layers": 2, "num_channels": 32, "l_max": 2, "feature_l_max": 1},
    "medium": {"num_layers": 2, "num_channels": 64, "l_max": 3, "feature_l_max": 1},
    "large": {"num_layers": 2, "num_channels": 128, "l_max": 3, "feature_l_max": 2},
}


class MACELayer(nn.Module):
    """Density -> product basis -> linear, with a self-connection in all but the first layer, or in all."""

    def __init__(
        self,
        options: MACEOptions,
        layout_in: FeatureLayout,
        layout_out: FeatureLayout,
        num_species: int,
        avg_num_neighbors: float,
        *,
        is_first: bool,
    ) -> None:
        super().__init__()
        density = natural_layout(options.num_channels, options.l_max)
        self.message = Message(
            layout_in,
            options.l_max,
            {block.irrep for block in density.blocks},
            options.radial_hidden,
            options.num_bessel,
            max(avg_num_neighbors, 1.0),
            density_normalization=options.density_normalization,
            spline=options.radial == "spline",
        )
        self.linear = IrrepsLinear(self.message.layout_out, density)
        self.product = SymmetricProduct(density, layout_out, options.correlation, num_species)
        self.linear_out = IrrepsLinear(layout_out, layout_out)
        self.residual = options.residual_first or not is_first
        if self.residual:
            self.skip = SpeciesLinear(layout_in, layout_out, num_species)
        else:
            self.skip = SpeciesLinear(density, density, num_species)


class MACE(WiredArchitecture):
    """The architecture; see :class:`equipot.models.Architecture` for the call."""

    def __init__(self, options: MACEOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.options, self.num_species = options, num_species
        transform = None
        if options.agnesi is not None:
            if len(options.agnesi_radii) != num_species:
                raise ConfigError(
                    f"model.agnesi_radii has {len(options.agnesi_radii)} numbers, expected one for each "
                    f"of the {num_species} elements."
                )
            transform = AgnesiTransform(options.agnesi, options.agnesi_radii)
        self.radial = RadialEmbedding(
            cutoff,
            options.num_bessel,
            options.envelope_power,
            transform=transform,
            envelope_on_weights=options.cutoff_on == "weights",
        )
        self.edges = EdgeEmbedding(options.l_max, cutoff, options.num_intervals)
        self.embedding = normal_matrix(num_species, options.num_channels, fan_in=1)
        self.layers, self.readouts = nn.ModuleList(), nn.ModuleList()
        layout = natural_layout(options.num_channels, 0)
        for layer in range(options.num_layers):
            is_last = layer == options.num_layers - 1
            following = natural_layout(options.num_channels, 0 if is_last else options.feature_l_max)
            self.layers.append(
                MACELayer(options, layout, following, num_species, avg_num_neighbors, is_first=layer == 0)
            )
            hidden = options.readout_hidden if is_last else ()
            self.readouts.append(MultiLayerPerceptron([options.num_channels, *hidden, 1]))
            layout = following

    def wire(self, steps: Recorder) -> None:
        x = steps.species(self, "embedding")
        for layer, readout in zip(self.layers, self.readouts):
            sums = steps.convolve(layer.message, steps.mix(layer.message.linear_up, x))
            density = steps.mix(layer.linear, sums)
            if not layer.residual:
                density = steps.mix(layer.skip, density)
            out = steps.mix(layer.linear_out, steps.product(layer.product, density))
            x = steps.add(out, steps.mix(layer.skip, x)) if layer.residual else out
            steps.readout(readout, x)


register(
    "mace",
    MACEOptions,
    MACE,
    presets=PRESETS,
    citation="I. Batatia et al., Advances in Neural Information Processing Systems 35 (2022), arXiv 2206.07697",
)
