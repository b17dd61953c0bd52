"""The symmetric product basis of node features, native or reference, chosen at every call."""

from __future__ import annotations

import torch
from torch import nn

from equipot.kernels import reference, selection
from equipot.kernels.native import product_basis as native
from equipot.kernels.plans import ProductBasisPlan


class ProductBasis(nn.Module):
    """Products of up to ``plan.correlation`` features, channel by channel (Batatia et al., NeurIPS 2022, eq. 10).

    Args:
        plan: orders, correlation and outputs.
    """

    def __init__(self, plan: ProductBasisPlan) -> None:
        super().__init__()
        self.plan = plan
        self.reference = reference.ProductBasis(plan)

    def forward(self, features: torch.Tensor, weights: list[torch.Tensor], species: torch.Tensor) -> list[torch.Tensor]:
        """Contract products of the features.

        Args:
            features: (N, (l_max+1)^2, C), the components of all orders stacked, natural parity.
            weights: one (num_species, num_paths, C) tensor for each (l, order) of ``plan.terms``.
            species: (N,) row of the weights for each atom.

        Returns:
            One (N, 2l+1, C) tensor for each l of ``plan.l_out``.

        Raises:
            IndexError: a species is out of range.
            UsageError: shapes or dtypes that do not fit, or a third derivative on the native path.
        """
        if selection.uses_native(features):
            return list(self._native(features, weights, species).split([2 * l + 1 for l in self.plan.l_out], dim=1))
        return self.reference(features, weights, species)

    def flat(self, features: torch.Tensor, weights: list[torch.Tensor], species: torch.Tensor) -> torch.Tensor:
        """The outputs of :meth:`forward` one behind the other, (N, sum of (2l+1) C), without a copy where native."""
        if selection.uses_native(features):
            return self._native(features, weights, species).flatten(1)
        outputs = self.reference(features, weights, species)
        return torch.cat([output.flatten(1) for output in outputs], dim=1)

    def _native(self, features: torch.Tensor, weights: list[torch.Tensor], species: torch.Tensor) -> torch.Tensor:
        weight = weights[0] if len(weights) == 1 else torch.cat(tuple(weights), dim=1)
        return native.product_basis(features, weight, species, self.plan)
