"""NequIP: equivariant convolutions with a gate and a self-connection.

Batzner et al., Nature Communications 13, 2453 (2022). Any number of layers, channels for each l, natural parity
(0e, 1o, 2e, ...), both parities, or rotations only. The options cover SevenNet (Park et al., J. Chem. Theory Comput.
20, 4857 (2024)), whose weights ``equipot convert`` takes in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from equipot.config import FieldError, Limit, Section
from equipot.kernels import Block, FeatureLayout
from equipot.models.registry import register
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Recorder
from equipot.nn import (
    EdgeEmbedding,
    Gate,
    IrrepsLinear,
    Message,
    MultiLayerPerceptron,
    RadialEmbedding,
    SpeciesLinear,
)
from equipot.nn.linear import normal_matrix

Size = Annotated[int, Limit(at_least=1, at_most=4096)]


@dataclass(frozen=True)
class NequIPOptions(Section):
    """Options of the ``nequip`` architecture."""

    num_layers: Annotated[int, Limit(at_least=1, at_most=20)] = 3
    #: Channels of every feature, or one number for each l = 0..feature_l_max.
    num_channels: Size | tuple[Size, ...] = 32
    #: Highest order of the spherical harmonics of the edges.
    l_max: Annotated[int, Limit(at_least=0, at_most=6)] = 2
    #: Highest order of the features atoms carry between layers.
    feature_l_max: Annotated[int, Limit(at_least=0, at_most=6)] = 1
    #: ``natural``: l has parity (-1)^l; ``both``: every l even and odd; ``none``: equivariant under rotations only.
    parity: Literal["natural", "both", "none"] = "natural"
    num_bessel: Annotated[int, Limit(at_least=1, at_most=128)] = 8
    trainable_bessel: bool = False
    #: Power p of the polynomial cutoff.
    envelope_power: Annotated[int, Limit(at_least=3, at_most=32)] = 6
    #: Angstrom: the cutoff function is XPLOR's, beginning here, instead of the polynomial (SevenNet-0).
    xplor_onset: Annotated[float, Limit(above=0, at_most=50)] | None = None
    #: Harmonics of order l are times r^l (the first SevenNet-0).
    solid_harmonics: bool = False
    #: ``species``: a matrix of the atom's own species; ``shared``: one for all (SevenNet).
    self_connection: Literal["species", "shared"] = "species"
    #: Biases on the even scalars before and after each convolution (a chosen level of theory of SevenNet-MF).
    scalar_bias: bool = False
    #: Hidden sizes of the radial networks.
    radial_hidden: tuple[Size, ...] = (64, 64)
    #: ``mlp``: the radial networks run on every edge. ``spline``: they run on a grid of distances, and cubic splines
    #: through these values are the radial functions: much faster, twice differentiable, exactly zero at the cutoff.
    radial: Literal["mlp", "spline"] = "spline"
    #: Intervals of the splines from 0 to the cutoff; without effect with ``radial: mlp``.
    radial_knots: Annotated[int, Limit(at_least=16, at_most=8192)] = 128
    #: Hidden sizes of the readout; none is a linear readout.
    readout_hidden: tuple[Size, ...] = ()

    def check(self) -> None:
        if isinstance(self.num_channels, tuple) and len(self.num_channels) != self.feature_l_max + 1:
            raise FieldError(
                "num_channels",
                f"has {len(self.num_channels)} numbers, expected one for each l = 0..{self.feature_l_max} "
                "(feature_l_max), or a single number",
            )
        if self.feature_l_max > 2 * self.l_max:
            raise FieldError("feature_l_max", f"can be at most 2 * l_max = {2 * self.l_max}")
        if self.xplor_onset is not None and self.radial == "spline":
            raise FieldError("xplor_onset", "needs radial: mlp; its curvature jumps, which splines cannot follow")

    def channels(self, l: int) -> int:
        """Channels of the features of order l."""
        return self.num_channels if isinstance(self.num_channels, int) else self.num_channels[l]

    @property
    def num_intervals(self) -> int | None:
        """Intervals of the radial splines; None without."""
        return self.radial_knots if self.radial == "spline" else None


PRESETS = {
    "small": {"num_layers": 3, "num_channels": 32, "l_max": 2, "feature_l_max": 1},
    "medium": {"num_layers": 3, "num_channels": 64, "l_max": 2, "feature_l_max": 2},
    "large": {"num_layers": 4, "num_channels": 128, "l_max": 3, "feature_l_max": 3},
}


class NequIPLayer(nn.Module):
    """gate(linear(message(x)) + self_connection(x))."""

    def __init__(
        self,
        options: NequIPOptions,
        layout_in: FeatureLayout,
        wanted: list[Block],
        num_species: int,
        avg_num_neighbors: float,
    ) -> None:
        super().__init__()
        self.message = Message(
            layout_in,
            options.l_max,
            {block.irrep for block in wanted},
            options.radial_hidden,
            options.num_bessel,
            max(avg_num_neighbors, 1.0) ** 0.5,
            harmonic_parity=options.parity != "none",
            spline=options.radial == "spline",
            scalar_bias=options.scalar_bias,
        )
        reached = {block.irrep for block in self.message.layout_out.blocks} | {(0, 1)}
        self.layout_out = FeatureLayout(tuple(block for block in wanted if block.irrep in reached))
        self.gate = Gate(self.layout_out)
        self.linear = IrrepsLinear(self.message.layout_out, self.gate.layout_in, scalar_bias=options.scalar_bias)
        if options.self_connection == "species":
            self.self_connection = SpeciesLinear(layout_in, self.gate.layout_in, num_species)
        else:
            self.self_connection = IrrepsLinear(layout_in, self.gate.layout_in)


class NequIP(WiredArchitecture):
    """The architecture; see :class:`equipot.models.Architecture` for the call."""

    def __init__(self, options: NequIPOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.options, self.num_species = options, num_species
        hidden = [Block(options.channels(l), l, p) for l, p in _feature_irreps(options)]
        scalars = [block for block in hidden if block.irrep == (0, 1)]
        self.radial = RadialEmbedding(
            cutoff,
            options.num_bessel,
            options.envelope_power,
            trainable=options.trainable_bessel,
            onset=options.xplor_onset,
        )
        self.edges = EdgeEmbedding(options.l_max, cutoff, options.num_intervals, solid=options.solid_harmonics)
        self.embedding = normal_matrix(num_species, options.channels(0), fan_in=1)
        self.layers = nn.ModuleList()
        layout = FeatureLayout(tuple(scalars))
        for layer in range(options.num_layers):
            wanted = scalars if layer == options.num_layers - 1 else hidden
            self.layers.append(NequIPLayer(options, layout, wanted, num_species, avg_num_neighbors))
            layout = self.layers[-1].layout_out
        self.readout = MultiLayerPerceptron([options.channels(0), *options.readout_hidden, 1])

    def wire(self, steps: Recorder) -> None:
        x = steps.species(self, "embedding")
        for layer in self.layers:
            sums = steps.convolve(layer.message, steps.mix(layer.message.linear_up, x))
            mixed = steps.add(steps.mix(layer.linear, sums), steps.mix(layer.self_connection, x))
            x = steps.gate(layer.gate, mixed)
        steps.readout(self.readout, x)


def _feature_irreps(options: NequIPOptions) -> list[tuple[int, int]]:
    """(l, parity) of the features, even scalars first."""
    orders = range(options.feature_l_max + 1)
    if options.parity == "natural":
        return [(l, (-1) ** l) for l in orders]
    if options.parity == "none":
        return [(l, 1) for l in orders]
    return [(l, 1) for l in orders] + [(l, -1) for l in orders]


register(
    "nequip",
    NequIPOptions,
    NequIP,
    presets=PRESETS,
    citation="S. Batzner et al., Nature Communications 13, 2453 (2022), doi 10.1038/s41467-022-29939-5",
)
