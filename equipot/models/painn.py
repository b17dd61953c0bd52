"""PaiNN: scalars and vectors of atoms, exchanged with neighbours and coupled within the atom.

After Schütt, Unke and Gastegger, ICML 2021 (arXiv:2102.03150), with three changes that keep everything smooth and on
this package's steps: vectors are multiplied by activated scalars (a gate), the norm of a vector enters as its square,
and messages also couple the neighbour's vectors with the direction to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from equipot.config import Limit, Section
from equipot.kernels import Block, FeatureLayout
from equipot.models.registry import register
from equipot.models.steps import Value
from equipot.models.wired import WiredArchitecture
from equipot.models.wiring import Recorder
from equipot.nn import (
    EdgeEmbedding,
    Gate,
    Invariants,
    IrrepsLinear,
    Message,
    MultiLayerPerceptron,
    RadialEmbedding,
    natural_layout,
)
from equipot.nn.linear import normal_matrix


@dataclass(frozen=True)
class PaiNNOptions(Section):
    """Options of the ``painn`` architecture."""

    num_layers: Annotated[int, Limit(at_least=1, at_most=20)] = 3
    #: Channels of scalars and of vectors.
    num_channels: Annotated[int, Limit(at_least=1, at_most=4096)] = 32
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
    #: Hidden sizes of the readout.
    readout_hidden: tuple[Annotated[int, Limit(at_least=1, at_most=4096)], ...] = (16,)

    @property
    def num_intervals(self) -> int | None:
        """Intervals of the radial splines; None without."""
        return self.radial_knots if self.radial == "spline" else None


PRESETS = {
    "small": {"num_layers": 2, "num_channels": 32},
    "medium": {"num_layers": 3, "num_channels": 64},
    "large": {"num_layers": 4, "num_channels": 128},
}


class PaiNNLayer(nn.Module):
    """Messages from neighbours, then the atom's own scalars and vectors coupled; each added to what was there."""

    def __init__(self, options: PaiNNOptions, is_first: bool, avg_num_neighbors: float) -> None:
        super().__init__()
        channels = options.num_channels
        features, scalars = natural_layout(channels, 1), natural_layout(channels, 0)
        sent = scalars if is_first else features
        self.gate = Gate(sent)
        self.linear_in = IrrepsLinear(sent, self.gate.layout_in)
        self.message = Message(
            sent,
            1,
            {block.irrep for block in features.blocks},
            options.radial_hidden,
            options.num_bessel,
            max(avg_num_neighbors, 1.0) ** 0.5,
            spline=options.radial == "spline",
            linear_up=False,
        )
        self.linear_out = IrrepsLinear(self.message.layout_out, features)
        # Squares of two maps of the vectors and of their sum hold the norms and the scalar products of the two.
        self.linear_vectors = IrrepsLinear(features, FeatureLayout((Block(2 * channels, 1, -1),)))
        self.invariants = Invariants(self.linear_vectors.layout_out)
        self.hidden = Gate(scalars)
        self.linear_scalars = IrrepsLinear(features, scalars)
        self.linear_invariants = IrrepsLinear(self.invariants.layout_out, scalars)
        self.update = Gate(features)
        self.linear_gates = IrrepsLinear(scalars, self.update.layout_in)
        self.linear_gated = IrrepsLinear(
            features, FeatureLayout(tuple(block for block in self.update.layout_in.blocks if block.l == 1))
        )
        self.lift = IrrepsLinear(self.linear_gated.layout_out, self.update.layout_in)
        self.linear_update = IrrepsLinear(features, features)
        with torch.no_grad():  # what is added to the features at first is half as large as they are
            for parameter in (*self.linear_out.parameters(), *self.linear_update.parameters()):
                parameter.mul_(0.5)

    def wire(self, steps: Recorder, x: Value, sent: Value) -> Value:
        """The features after the layer, of those before and what is sent of them."""
        h = steps.gate(self.gate, steps.mix(self.linear_in, sent))
        x = steps.add(x, steps.mix(self.linear_out, steps.convolve(self.message, h)))
        squares = steps.invariants(self.invariants, steps.mix(self.linear_vectors, x))
        hidden = steps.add(steps.mix(self.linear_scalars, x), steps.mix(self.linear_invariants, squares))
        gates = steps.mix(self.linear_gates, steps.gate(self.hidden, hidden))
        vectors = steps.mix(self.lift, steps.mix(self.linear_gated, x))
        return steps.add(x, steps.mix(self.linear_update, steps.gate(self.update, steps.add(gates, vectors))))


class PaiNN(WiredArchitecture):
    """The architecture; see :class:`equipot.models.Architecture` for the call."""

    def __init__(self, options: PaiNNOptions, *, num_species: int, cutoff: float, avg_num_neighbors: float) -> None:
        super().__init__()
        self.options, self.num_species = options, num_species
        self.radial = RadialEmbedding(cutoff, options.num_bessel, options.envelope_power)
        self.edges = EdgeEmbedding(1, cutoff, options.num_intervals)
        self.embedding = normal_matrix(num_species, options.num_channels, fan_in=1)
        self.lift = IrrepsLinear(natural_layout(options.num_channels, 0), natural_layout(options.num_channels, 1))
        self.layers = nn.ModuleList(
            PaiNNLayer(options, layer == 0, avg_num_neighbors) for layer in range(options.num_layers)
        )
        self.readout = MultiLayerPerceptron([options.num_channels, *options.readout_hidden, 1])

    def wire(self, steps: Recorder) -> None:
        species = steps.species(self, "embedding")
        x = steps.mix(self.lift, species)
        for k, layer in enumerate(self.layers):
            x = layer.wire(steps, x, x if k else species)
        steps.readout(self.readout, x)


register(
    "painn",
    PaiNNOptions,
    PaiNN,
    presets=PRESETS,
    citation="K. T. Schütt, O. T. Unke and M. Gastegger, Proceedings of Machine Learning Research 139, 9377 (2021), "
    "arXiv 2102.03150",
)
