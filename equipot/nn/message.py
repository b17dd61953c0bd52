"""One round of message passing: mix, convolve with radial weights, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from equipot.kernels import Block, Convolution, ConvolutionPlan, FeatureLayout, SplineConvolution
from equipot.kernels.radial_table import radial_table
from equipot.kernels.spline import control_points
from equipot.nn.linear import IrrepsLinear
from equipot.nn.mlp import FixedRadial, MultiLayerPerceptron
from equipot.nn.radial import EdgeFeatures


class Message(nn.Module):
    """``m_i = (1/norm) sum_j R(r_ij) (W x_j) (x) Y(r_ij)`` summed over neighbours, path by path.

    Args:
        layout_in: irreps of the node features.
        l_max: highest order of the harmonics.
        irreps_out: the (l, parity) wanted.
        radial_sizes: hidden sizes of the radial network.
        num_radial: size of the radial embedding.
        norm: what message sums are divided by.
        harmonic_parity: False for models equivariant under rotations only.
        density_normalization: divide by ``1 + sum_j tanh(d(r_ij)^2)``, a learned soft count of neighbours, instead of
            ``norm`` (the density blocks of MACE).
        spline: evaluate the radial network at the knots and interpolate, instead of on every edge.
        scalar_bias: a bias on the even scalars of W x.
        linear_up: whether there is the map W; without it ``linear_up`` is None.
        radial_network: instead of a perceptron of these sizes, what makes the weights of all paths from the embedding.
    """

    def __init__(
        self,
        layout_in: FeatureLayout,
        l_max: int,
        irreps_out: set[tuple[int, int]],
        radial_sizes: Sequence[int],
        num_radial: int,
        norm: float,
        *,
        harmonic_parity: bool = True,
        density_normalization: bool = False,
        spline: bool = False,
        scalar_bias: bool = False,
        linear_up: bool = True,
        radial_network: FixedRadial | None = None,
    ) -> None:
        super().__init__()
        plan = ConvolutionPlan.build(layout_in, l_max, irreps_out, harmonic_parity=harmonic_parity)
        self.layout_out, self.norm = plan.output, norm
        self.linear_up = IrrepsLinear(layout_in, layout_in, scalar_bias=scalar_bias) if linear_up else None
        self.radial_network = radial_network or MultiLayerPerceptron([num_radial, *radial_sizes, plan.num_weights])
        width = self.radial_network.weights[-1].shape[1]
        if width != plan.num_weights:
            raise ValueError(f"the radial network has {width} outputs, the paths have {plan.num_weights} weights")
        self.is_spline = spline
        convolution = SplineConvolution if spline else Convolution
        self.convolution = convolution(plan)
        self.density_network = None
        if density_normalization:
            # A sum over neighbors of a function of the distance is the convolution of ones with it.
            ones = ConvolutionPlan.build(FeatureLayout((Block(1, 0, 1),)), l_max, {(0, 1)})
            self.density_network = MultiLayerPerceptron([num_radial, 1])
            self.density_convolution = convolution(ones)

    def forward(self, features: Tensor, edges: EdgeFeatures, *, constant_features: bool = False) -> Tensor:
        """Sum over neighbours.

        Args:
            features: (N, layout_in.dim), what ``linear_up`` has made of the node features.
            edges: of the batch.
            constant_features: no edge vector has entered the features, which saves their gradient.

        Returns:
            (N, layout_out.dim).
        """
        network = self.radial_network
        scale = 1 / self.norm if self.density_network is None else 1.0
        if not self.is_spline:
            weights = (network.hidden(edges.radial) * scale) @ network.weights[-1]
            weights = weights if edges.envelope is None else weights * edges.envelope
        elif edges.envelope is None:
            weights = radial_table(edges.radial, list(network.weights), scale)
        else:
            weights = control_points(network(edges.radial) * edges.envelope, scale)
        message = self._convolve(self.convolution, features, weights, edges, constant_features)
        if self.density_network is None:
            return message
        density = self.density(edges.radial, edges.envelope)
        density = control_points(density) if self.is_spline else density
        ones = features.new_ones(len(features), 1)
        return message / (1 + self._convolve(self.density_convolution, ones, density, edges, constant_features))

    def density(self, radial: Tensor, envelope: Tensor | None) -> Tensor:
        """(E, num_radial) and, where the envelope multiplies outputs, (E, 1) -> (E, 1): what a neighbour counts for."""
        density = torch.tanh(self.density_network(radial) ** 2)
        return density if envelope is None else density * envelope

    def _convolve(
        self, convolution: nn.Module, features: Tensor, weights: Tensor, edges: EdgeFeatures, constant_features: bool
    ) -> Tensor:
        if not self.is_spline:
            return convolution(features, edges.harmonics, weights, edges.index)
        return convolution(features, edges.harmonics, edges.basis, edges.knot, weights, edges.index, constant_features)
