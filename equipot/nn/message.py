"""One round of message passing: mix, convolve with radial weights, normalise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from equipot.kernels import ConvolutionPlan, FeatureLayout, operations
from equipot.kernels.reference import sum_by_index
from equipot.nn.linear import IrrepsLinear
from equipot.nn.mlp import MultiLayerPerceptron


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
    ) -> None:
        super().__init__()
        plan = ConvolutionPlan.build(layout_in, l_max, irreps_out, harmonic_parity=harmonic_parity)
        self.layout_out, self.norm = plan.output, norm
        self.linear_up = IrrepsLinear(layout_in, layout_in)
        self.radial_network = MultiLayerPerceptron([num_radial, *radial_sizes, plan.num_weights])
        self.convolution = operations().convolution(plan)
        self.density_network = MultiLayerPerceptron([num_radial, 1]) if density_normalization else None

    def forward(
        self,
        features: torch.Tensor,
        harmonics: torch.Tensor,
        radial: torch.Tensor,
        center: torch.Tensor,
        neighbor: torch.Tensor,
    ) -> torch.Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim)."""
        weights = self.radial_network(radial)
        message = self.convolution(self.linear_up(features), harmonics, weights, center, neighbor)
        if self.density_network is None:
            return message / self.norm
        density = torch.tanh(self.density_network(radial) ** 2)
        return message / (1 + sum_by_index(density, center, len(features)))
