"""The product basis with its weights: symmetric products of an atom's features, one set of weights a species."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import Block, FeatureLayout, ProductBasis, ProductBasisPlan


def natural_layout(channels: int, l_max: int) -> FeatureLayout:
    """Irreps of natural parity, (-1)^l, of order 0 to l_max, with the same number of channels each."""
    return FeatureLayout(tuple(Block(channels, l, (-1) ** l) for l in range(l_max + 1)))


def highest_order(correlation: int) -> int:
    """The highest l of features whose products of so many factors are served."""
    return 2 if correlation >= 4 else 4


class SymmetricProduct(nn.Module):
    """Products of up to ``correlation`` features, channel by channel (Batatia et al., NeurIPS 2022, eq. 10).

    Args:
        layout_in: natural-parity irreps 0..l_max with equal channels.
        layout_out: natural-parity irreps of the result, same channels.
        correlation: highest number of features in a product.
        num_species: weights are separate for each species.
    """

    def __init__(self, layout_in: FeatureLayout, layout_out: FeatureLayout, correlation: int, num_species: int) -> None:
        super().__init__()
        channels = layout_in.blocks[0].channels
        l_max = layout_in.blocks[-1].l
        self.layout_in, self.layout_out = layout_in, layout_out
        self.plan = ProductBasisPlan(l_max, correlation, tuple(block.l for block in layout_out.blocks))
        self.product_basis = ProductBasis(self.plan)
        self.weights = nn.ParameterList()
        for term in self.plan.terms:
            num_paths = self.plan.num_paths(*term)
            self.weights.append(nn.Parameter(torch.randn(num_species, num_paths, channels) * num_paths**-0.5))
        self.fan_in = {f"weights.{k}": self.plan.num_paths(*term) for k, term in enumerate(self.plan.terms)}

    def forward(self, features: torch.Tensor, species: torch.Tensor) -> torch.Tensor:
        """(N, layout_in.dim), species (N,) -> (N, layout_out.dim)."""
        # Equal channels in every block: the flat features are (N, (l_max+1)^2, C) as they lie.
        stacked = features.unflatten(1, (-1, self.layout_in.blocks[0].channels))
        return self.product_basis.flat(stacked, list(self.weights), species)
