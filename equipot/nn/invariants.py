"""Invariants: the mean square of the components of each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equipot.kernels import Block, FeatureLayout


class Invariants(nn.Module):
    """``y_lc = sum_m x_lmc^2 / (2 l + 1)``: one scalar per irrep and channel, the diagonal of the power spectrum.

    Args:
        layout_in: any irreps.

    Attributes:
        layout_out: one block of even scalars, with the channels of all blocks of ``layout_in`` in order.
    """

    def __init__(self, layout_in: FeatureLayout) -> None:
        super().__init__()
        self.layout_in = layout_in
        self.layout_out = FeatureLayout((Block(sum(block.channels for block in layout_in.blocks), 0, 1),))

    def forward(self, features: Tensor) -> Tensor:
        """(N, layout_in.dim) -> (N, layout_out.dim)."""
        return self.product(features, features)

    def product(self, one: Tensor, other: Tensor) -> Tensor:
        """The bilinear form of which the invariants are the square, (N, layout_out.dim)."""
        return torch.cat([part.mean(1) for part in self.layout_in.split(one * other)], dim=1)

    def spread(self, scalars: Tensor, features: Tensor) -> Tensor:
        """(N, layout_out.dim), (N, layout_in.dim) -> (N, layout_in.dim): its transpose at ``features``."""
        parts = scalars.split([block.channels for block in self.layout_in.blocks], dim=1)
        return torch.cat(
            [
                (part.unsqueeze(1) * values / values.shape[1]).flatten(1)
                for part, values in zip(parts, self.layout_in.split(features))
            ],
            dim=1,
        )
